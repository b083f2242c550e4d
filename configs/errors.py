"""The one base class of errors that a person can mend."""


class UserError(Exception):
    """Something outside of the program is wrong: a setting, a file, a folder, the disk, a model.

    Its message is complete: it names the file or setting, the value, and the right one.  The command line prints it in
    place of a traceback, and knows no other class.
    """
