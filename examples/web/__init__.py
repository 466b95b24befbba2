"""An auction behind FastAPI: two services, and a stream to the browser."""
