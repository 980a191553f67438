"""What was crafted for images of any size. It is kept, so that an interrupted copying resumes without crafting again."""

import json
from collections.abc import Iterator
from pathlib import Path

from unlearnable.artifacts.artifact import Artifact
from unlearnable.artifacts.atomic import Part, open_checked
from unlearnable.artifacts.packing import Content, header, packed, unpacked
from unlearnable.poisons.own_size import Protection


class ProtectionDataset(Artifact[Protection, Protection]):
    """The perturbation of each image of a folder, at one size.

    Example:
        ```yaml
        protection:
          type: unlearnable.artifacts.protection.ProtectionDataset
          filepath: data/05_model_input/${place:}/protection.safetensors
          recipe: ${recipe:}
          versioned: true
        ```
    """

    def encode(self, data: Protection) -> Iterator[Part]:
        """Return perturbations and ids as safetensors, in parts."""
        about = {"poison": data.poison, "settings": json.dumps(dict(data.settings)), "seed": str(data.seed), "recipe": self.recipe}
        return packed({"perturbation": data.perturbation, "ids": data.ids}, about)

    def opened(self, path: Path) -> Content:
        """Return the bytes of the file; they may be larger than the memory."""
        return open_checked(path)

    def decode(self, content: Content) -> tuple[Protection, str | None]:
        """Return what was crafted, which is read as it is used, and its recipe."""
        found, about = unpacked(content), header(content)
        settings = json.loads(about["settings"])
        protection = Protection(**found, poison=about["poison"], settings=settings, seed=int(about["seed"]))
        return protection, about.get("recipe")
