"""The exit codes of every command, for scripts. Knows no command.

Where several apply, the first of this order decides: a crash or interruption, bad usage, a defect, failed images,
images that were not judged, a set-up that is unfit.
"""

OK = 0
DEFECT = 1  # with --fail-on-defect; a crash never exits with it
USAGE = 2  # wrong usage or settings, also files that are not there
FAILED_IMAGES = 3  # some images could not be read or judged; the others are done
UNJUDGED = 4  # a verdict was asked for and none could be given
UNFIT = 5  # a calibration or profile that does not hold
DRIFT = 6  # images no longer look like those that were calibrated on
CRASH = 70  # an error of the program itself
INTERRUPTED = 130
