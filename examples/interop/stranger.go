// The stranger once more, in Go with its standard library alone: a program that
// knows nothing of irismq, and talks to an actor as stranger.py does.
//
//	go run examples/interop/stranger.go IRIS_HOST:PORT NSQD_HOST:PORT
package main

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

const (
	name = "interop.stranger"
	desk = "interop.desk"
	sold = "interop.sold.json"
	news = "interop.news"
)

// must ends the program: this is a demonstration, and its test reads the message.
func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func show(what string, value any) {
	fmt.Println(string(must(json.Marshal(map[string]any{what: value}))))
}

func packed(value any) []byte { return must(json.Marshal(value)) }

func unpacked(data []byte) (value any) {
	must(0, json.Unmarshal(data, &value))
	return value
}

// A relay is one connection to an Iris relay.
type relay struct {
	net.Conn
	in   *bufio.Reader
	kept []packet
	last uint64
	mark [16]byte
}

// A packet is what the relay sends: its opcode and the fields that matter here.
type packet struct {
	opcode byte
	id     uint64
	ok     bool
	body   []byte
}

const (
	opInit, opBroadcast, opRequest, opReply, opSubscribe, opPublish = 0, 3, 4, 5, 6, 8
)

func dialRelay(address, cluster string) *relay {
	conn := must(net.Dial("tcp", address))
	r := &relay{Conn: conn, in: bufio.NewReader(conn)}
	r.send(opInit, "iris-client-magic", "v1.0-draft2", cluster)
	if r.byte() != opInit {
		panic("the relay refused")
	}
	r.binary()
	r.binary()
	return r
}

func (r *relay) send(opcode byte, fields ...any) {
	data := []byte{opcode}
	for _, field := range fields {
		switch value := field.(type) {
		case uint64:
			data = binary.AppendUvarint(data, value)
		case bool:
			data = append(data, map[bool]byte{true: 1}[value])
		case string:
			data = append(binary.AppendUvarint(data, uint64(len(value))), value...)
		case []byte:
			data = append(binary.AppendUvarint(data, uint64(len(value))), value...)
		}
	}
	must(r.Write(data))
}

func (r *relay) byte() byte     { return must(r.in.ReadByte()) }
func (r *relay) varint() uint64 { return must(binary.ReadUvarint(r.in)) }
func (r *relay) binary() []byte {
	data := make([]byte, r.varint())
	must(io.ReadFull(r.in, data))
	return data
}

// subscribe waits until events arrive: Iris loses those of the first moment, and does not
// answer, so an event of one's own is published until it comes back.
func (r *relay) subscribe(topic string) {
	must(rand.Read(r.mark[:]))
	r.send(opSubscribe, topic)
	for {
		r.send(opPublish, topic, r.mark[:])
		must(0, r.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
		if _, err := r.in.Peek(1); err == nil {
			must(0, r.SetReadDeadline(time.Time{}))
			return
		}
	}
}

// next returns the next packet of this kind; others wait their turn.
func (r *relay) next(opcode byte) packet {
	for i, p := range r.kept {
		if p.opcode == opcode {
			r.kept = append(r.kept[:i], r.kept[i+1:]...)
			return p
		}
	}
	for {
		p := r.read()
		if p.opcode == opPublish && bytes.Equal(p.body, r.mark[:]) {
			continue
		}
		if p.opcode == opcode {
			return p
		}
		r.kept = append(r.kept, p)
	}
}

func (r *relay) read() packet {
	p := packet{opcode: r.byte()}
	switch p.opcode {
	case opBroadcast:
		p.body = r.binary()
	case opRequest:
		p.id, p.body = r.varint(), r.binary()
		r.varint()
	case opReply:
		p.id = r.varint()
		if r.byte() == 1 {
			p.body = []byte("nobody answered in time")
			break
		}
		p.ok, p.body = r.byte() == 1, r.binary()
	case opPublish:
		r.binary()
		p.body = r.binary()
	default:
		panic(fmt.Sprintf("opcode %d is not expected here", p.opcode))
	}
	return p
}

// ask returns the actor's answer, or its fault as text.
func (r *relay) ask(value any) any {
	r.last++
	r.send(opRequest, r.last, desk, packed(value), uint64(5000))
	reply := r.next(opReply)
	if !reply.ok {
		return string(reply.body)
	}
	return unpacked(reply.body)
}

// An nsqd is one connection that publishes, or consumes one channel.
type nsqd struct{ net.Conn }

func dialNsqd(address string) nsqd {
	conn := must(net.Dial("tcp", address))
	must(conn.Write([]byte("  V2")))
	return nsqd{conn}
}

func (n nsqd) publish(topic string, body []byte) {
	data := binary.BigEndian.AppendUint32([]byte("PUB "+topic+"\n"), uint32(len(body)))
	must(n.Write(append(data, body...)))
	n.frame(0)
}

func (n nsqd) subscribe(topic, channel string) {
	must(fmt.Fprintf(n, "SUB %s %s\n", topic, channel))
	n.frame(0)
	must(fmt.Fprint(n, "RDY 1\n"))
}

// forget takes what an earlier conversation left in the channel, up to a mark of our own.
func (n nsqd) forget(topic string, producer nsqd) {
	mark := make([]byte, 16)
	must(rand.Read(mark))
	producer.publish(topic, mark)
	for !bytes.Equal(n.body(), mark) {
	}
}

// take waits for a message and returns its value.
func (n nsqd) take() any { return unpacked(n.body()) }

// body waits for a message and FINishes it.
func (n nsqd) body() []byte {
	data := n.frame(2) // 8 bytes of time, 2 of attempts, 16 of id, the body
	must(fmt.Fprintf(n, "FIN %s\n", data[10:26]))
	return data[26:]
}

func (n nsqd) frame(wanted uint32) []byte {
	for {
		head := make([]byte, 8)
		must(io.ReadFull(n, head))
		data := make([]byte, binary.BigEndian.Uint32(head)-4)
		must(io.ReadFull(n, data))
		switch kind := binary.BigEndian.Uint32(head[4:]); {
		case string(data) == "_heartbeat_":
			must(fmt.Fprint(n, "NOP\n"))
		case kind == wanted:
			return data
		default:
			panic("nsqd says " + string(data))
		}
	}
}

type order struct {
	Order string `json:"order"`
}

func main() {
	irisAt, nsqdAt := os.Args[1], os.Args[2]
	member, client := dialRelay(irisAt, name), dialRelay(irisAt, "")
	client.subscribe(sold)
	producer, mailbox, events := dialNsqd(nsqdAt), dialNsqd(nsqdAt), dialNsqd(nsqdAt)
	mailbox.subscribe(name, "mailbox")
	events.subscribe(sold, "stranger")
	events.forget(sold, producer)

	show("answer", client.ask(order{"tea"}))
	show("stored event", events.take())
	show("live event", unpacked(client.next(opPublish).body))
	show("fault", client.ask(order{"gold"}))
	producer.publish(desk, packed(order{"milk"}))
	show("stored event", events.take())
	client.send(opBroadcast, desk, packed(order{"sugar"}))
	show("stored event", events.take())
	producer.publish(news, packed(map[string]string{"news": "stored"}))
	client.send(opPublish, news, packed(map[string]string{"news": "live"}))

	producer.publish(desk, packed(map[string]string{"visit": name}))
	asked := member.next(opRequest)
	show("asked", unpacked(asked.body))
	member.send(opReply, asked.id, true, packed(map[string]int{"cups": 2}))
	asked = member.next(opRequest)
	show("asked", unpacked(asked.body))
	member.send(opReply, asked.id, false, "no coffee here")
	show("told", mailbox.take())
	show("told with all", unpacked(member.next(opBroadcast).body))
}
