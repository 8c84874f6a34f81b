"""Write every drawing to a folder: python -m apt_minimal.course.draw docs/figures"""

import sys

from apt_minimal.course import draw

if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m apt_minimal.course.draw FOLDER")
    draw.write(sys.argv[1])
