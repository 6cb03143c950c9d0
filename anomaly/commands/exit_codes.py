"""The exit codes of every command, in one place. Where several apply, the first of this order is given:

interrupted, crash, usage, defect, unfit, drift, unjudged, failed images, ok. A defect that was found is never
hidden by an image that could not be read, and a crash never looks like a defect.
"""

OK = 0
DEFECT = 1  # --fail-on-defect, and at least one image is a defect
USAGE = 2  # wrong options, files or settings; nothing else was done
FAILED_IMAGES = 3  # some images could not be read or judged; the others were
UNJUDGED = 4  # a verdict was asked for, and none could be given
UNFIT = 5  # some photographs are not fit to be judged
DRIFT = 6  # the images are no longer like those that were calibrated with
CRASH = 70  # an error of the tool itself; sysexits.h calls it EX_SOFTWARE
INTERRUPTED = 130  # Ctrl-C, as shells say it: 128 + SIGINT
