"""Writes photos/: crops of the digit detector's sample picture, and a file that is broken."""

from pathlib import Path

from PIL import Image


def main() -> None:
    """Write 24 pictures and half of another one."""
    folder = Path("photos")
    folder.mkdir(exist_ok=True)
    with Image.open("../digits/sample/image.png") as picture:
        scene = picture.convert("RGB")
    for number in range(24):
        shift = 3 * number
        crop = scene.crop((shift, 0, shift + scene.width // 2, scene.height))
        crop.save(folder / f"{number:03}.jpg")
    whole = (folder / "000.jpg").read_bytes()
    (folder / "broken.jpg").write_bytes(whole[: len(whole) // 2])
    print("wrote photos/")


if __name__ == "__main__":
    main()
