"""Short clips of one event a frame: a shape appears, or the one that is there moves or changes its size.

A frame is an image of 16 x 16 grey pixels, 0 to 1. What happened in it shows only beside the frame before.
"""

from __future__ import annotations

from typing import Any

import numpy as np

SIDE = 16  # pixels of a frame's height and width
STRIDE = 3  # pixels that a shape moves
SHAPES = ("disc", "square", "cross", "triangle")
MOVES = {"left": (-STRIDE, 0, 0), "right": (STRIDE, 0, 0), "up": (0, -STRIDE, 0), "down": (0, STRIDE, 0)}
CHANGES = {**MOVES, "grows": (0, 0, 1), "shrinks": (0, 0, -1)}  # of column, row and radius
EVENTS = (*SHAPES, *CHANGES)
SMALLEST, LARGEST = 2, 4  # radius
APPEARS = 0.3  # how often the next event is a new shape
NOISE = 0.06  # standard deviation of what is added to every pixel

Scene = tuple[int, int, int, int]  # shape, column and row of its centre, radius


def draw_clip(length: int, random: np.random.Generator) -> tuple[list[int], list[Scene]]:
    """Draws a clip: each frame's event, an index of EVENTS, and what the frame shows."""
    events: list[int] = []
    scenes: list[Scene] = []
    for _ in range(length):
        event, scene = _next(scenes[-1] if scenes else None, random)
        events.append(event)
        scenes.append(scene)
    return events, scenes


def _next(scene: Scene | None, random: np.random.Generator) -> tuple[int, Scene]:
    if scene is None or random.random() < APPEARS:
        shapes = [shape for shape in range(len(SHAPES)) if scene is None or shape != scene[0]]
        shape = shapes[int(random.random() * len(shapes))]
        radius = SMALLEST + int(random.random() * (LARGEST - SMALLEST + 1))
        room = SIDE - 2 * radius
        return shape, (shape, radius + int(random.random() * room), radius + int(random.random() * room), radius)
    shape, column, row, radius = scene
    possible = []
    for event, (right, down, more) in enumerate(CHANGES.values(), start=len(SHAPES)):
        after = (shape, column + right, row + down, radius + more)
        if _fits(after):
            possible.append((event, after))
    return possible[int(random.random() * len(possible))]


def _fits(scene: Scene) -> bool:
    _, column, row, radius = scene
    inside = all(radius <= place < SIDE - radius for place in (column, row))
    return inside and SMALLEST <= radius <= LARGEST


def render(scenes: list[Scene], random: np.random.Generator) -> np.ndarray[Any, Any]:
    """Renders scenes as images [frames, SIDE, SIDE], float32: each shape in a brightness of its own, with noise."""
    shape, column, row, radius = (values[:, None, None] for values in np.array(scenes).T)
    pixels = np.arange(SIDE)
    right, down = pixels[None, None, :] - column, pixels[None, :, None] - row
    box = np.maximum(abs(right), abs(down)) <= radius
    figures = [
        right**2 + down**2 <= radius**2 + 0.5,
        box,
        box & ((right == 0) | (down == 0)),
        box & (2 * abs(right) <= down + radius),
    ]
    brightness = random.uniform(0.6, 1.0, shape.shape)
    image = np.choose(shape, figures) * brightness + random.normal(0, NOISE, figures[0].shape)
    clipped: np.ndarray[Any, Any] = np.clip(image, 0, 1).astype(np.float32)
    return clipped
