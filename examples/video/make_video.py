"""Writes clip.mp4: a camera that moves over the sample picture of the digit detector."""

from fractions import Fraction

import av
from PIL import Image


def main() -> None:
    """Write 40 frames, 25 in a second."""
    with Image.open("../digits/sample/image.png") as scene, av.open("clip.mp4", "w") as video:
        stream = video.add_stream("mpeg4", rate=Fraction(25))
        stream.width, stream.height, stream.bit_rate = 320, 320, 2_000_000
        for shift in range(40):
            view = scene.convert("RGB").resize((360, 360)).crop((shift, 20, shift + 320, 340))
            video.mux(stream.encode(av.VideoFrame.from_image(view)))
        video.mux(stream.encode())
    print("wrote clip.mp4")


if __name__ == "__main__":
    main()
