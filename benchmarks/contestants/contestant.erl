%% Erlang/OTP: gen_server beside our actors, in one node and between two.
%%
%%   erl -noshell -pa FOLDER -run contestant local SCALE
%%   erl -noshell -pa FOLDER -name member@127.0.0.1 -run contestant serve
%%   erl -noshell -pa FOLDER -name asker@127.0.0.1 -run contestant remote SCALE NODE
%%
%% Each prints one line: FIGURES and a JSON object, with the rows of local.py or remote.py.
%% Rates are by the wall clock; the emulator has its defaults, and as many schedulers as
%% there are cores.

-module(contestant).
-behaviour(gen_server).

-export([local/1, serve/0, remote/1]).
-export([init/1, handle_call/3, handle_cast/2]).

-define(CHUNK, 1000).
-define(IN_FLIGHT, 256).
-define(PAYLOAD, binary:copy(<<"x">>, 100)).

%% The server: counts what it is told, answers what it is asked.

init(Count) -> {ok, Count}.

handle_call({ask, Other, Count}, _From, Asked) ->
    asks(Other, Count),
    {reply, ok, Asked};
handle_call(Message, _From, Count) -> {reply, Message, Count + 1}.

handle_cast(stop, Count) -> {stop, normal, Count};
handle_cast(_Text, Count) -> {noreply, Count + 1}.

started() ->
    {ok, Server} = gen_server:start(?MODULE, 0, []),
    Server.

%% In one node.

local([Scale]) ->
    Of = fun(Count) -> round(Count * list_to_float(Scale)) end,
    Server = started(),
    asks(Server, 1000),
    Chunks = Of(500_000) div ?CHUNK,
    Tell = rate(Chunks * ?CHUNK, fun() -> times(Chunks, fun() -> tells(Server, ?CHUNK) end) end),
    Streamed = Of(100_000),
    Stream = rate(Streamed, fun() -> tells(Server, Streamed) end),
    Asked = Of(100_000),
    Ask = rate(Asked, fun() -> asks(Server, Asked) end),
    Flights = Of(200_000) div ?CHUNK,
    Flight = rate(Flights * ?CHUNK, fun() -> times(Flights, fun() -> flight(Server) end) end),
    Asker = started(),
    Between = rate(Asked, fun() -> gen_server:call(Asker, {ask, Server, Asked}, infinity) end),
    Figures = [{"tell", Tell}, {"tell, stream", Stream}, {"ask", Ask},
               {"asks in flight", Flight}, {"ask between", Between}],
    say(Figures ++ population(Of(100_000))).

%% Started one after another, each waited for until it has run its init; stopped all at once.
population(Count) ->
    Before = resident(),
    {Start, Servers} = timed(fun() -> [started() || _ <- lists:seq(1, Count)] end),
    Memory = (resident() - Before) / Count,
    Last = lists:last(Servers),
    FanOut = rate(Count, fun() ->
        [gen_server:cast(Server, "x") || Server <- Servers],
        gen_server:call(Last, 0, infinity)
    end),
    Stop = rate(Count, fun() ->
        Watched = [begin
                       Watch = monitor(process, Server),
                       gen_server:cast(Server, stop),
                       Watch
                   end || Server <- Servers],
        [receive {'DOWN', Watch, process, _, _} -> ok end || Watch <- Watched]
    end),
    [{"start", Count / Start}, {"memory", Memory}, {"fan-out", FanOut}, {"stop", Stop}].

tells(Server, Count) ->
    times(Count, fun() -> gen_server:cast(Server, "x") end),
    gen_server:call(Server, 0, infinity).

asks(_, 0) -> ok;
asks(Server, Count) ->
    Count = gen_server:call(Server, Count, infinity),
    asks(Server, Count - 1).

flight(Server) ->
    Sent = [gen_server:send_request(Server, Number) || Number <- lists:seq(1, ?CHUNK)],
    [{reply, _} = gen_server:receive_response(Request, infinity) || Request <- Sent].

%% Between two nodes.

serve() ->
    {ok, _} = gen_server:start({local, member}, ?MODULE, 0, []),
    io:format("ready~n").

remote([Scale, Node]) ->
    Of = fun(Count) -> round(Count * list_to_float(Scale)) end,
    Member = {member, list_to_atom(Node)},
    Payload = ?PAYLOAD,
    Ask = fun() -> Payload = gen_server:call(Member, Payload, infinity) end,
    times(200, Ask),
    Took = lists:sort([element(1, timed(Ask)) || _ <- lists:seq(1, Of(10_000))]),
    Each = Of(60_000) div ?IN_FLIGHT,
    Flight = rate(Each * ?IN_FLIGHT, fun() -> together(?IN_FLIGHT, fun() -> times(Each, Ask) end) end),
    say([{"ask", length(Took) / lists:sum(Took)},
         {"ask p50", 1.0e6 * percentile(Took, 50)},
         {"ask p99", 1.0e6 * percentile(Took, 99)},
         {"asks in flight", Flight}]).

%% So many processes that do the same, until all have.
together(Count, Do) ->
    Workers = [element(2, spawn_monitor(Do)) || _ <- lists:seq(1, Count)],
    [receive {'DOWN', Worker, process, _, normal} -> ok end || Worker <- Workers].

percentile(Sorted, Percent) -> lists:nth(max(1, length(Sorted) * Percent div 100), Sorted).

%% Measuring.

times(0, _) -> ok;
times(Count, Do) ->
    Do(),
    times(Count - 1, Do).

rate(Count, Do) -> Count / element(1, timed(Do)).

%% {seconds, what it returned}
timed(Do) ->
    Began = erlang:monotonic_time(nanosecond),
    Value = Do(),
    {(erlang:monotonic_time(nanosecond) - Began) / 1.0e9, Value}.

%% Bytes of resident memory, as of the others.
resident() ->
    erlang:garbage_collect(),
    {ok, Text} = file:read_file("/proc/self/statm"),
    [_, Pages | _] = string:lexemes(binary_to_list(Text), " "),
    list_to_integer(Pages) * 4096.

say(Figures) ->
    Pairs = [io_lib:format("\"~s\": ~f", [Row, float(Value)]) || {Row, Value} <- Figures],
    io:format("FIGURES {~s}~n", [lists:join(", ", Pairs)]),
    halt(0).
