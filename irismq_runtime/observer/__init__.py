"""Looking at running nodes from outside: what the observer page and `irismq top` show."""

__all__: list[str] = []
