"""The one exception a person at the command line is meant to read."""


class UsageError(Exception):
    """Bad input: its message is one line that names the thing, the value and the way out.

    The command prints it and exits with status 2.  Bad *data* is never an exception (it is a row with a reason),
    and a bug is any other exception.
    """
