"""The one client of servers that speak OpenAI's format, and how it reads what they say of a call that failed."""
