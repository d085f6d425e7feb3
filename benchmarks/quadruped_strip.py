"""Trains a walking robot and draws eight frames of one second of it, seen from the side.

    MUJOCO_GL=egl python benchmarks/quadruped_strip.py

Writes docs/quadruped_walk.png (needs imageio, and a GL library: libegl1 or libosmesa6) and
prints one JSON line: speed, the lowest knee and the share of steps a foot is down.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LEGS = ("FL", "FR", "RL", "RR")
N_FRAMES = 8
WIDTH, HEIGHT = 480, 360
WARM_UP_STEPS, FILM_STEPS = 100, 50


def film(agent: Any) -> tuple[list[Any], dict[str, Any]]:
    """Lets one robot walk for two seconds and films the third.

    Returns:
      `N_FRAMES` images `[HEIGHT, WIDTH, 3]`, and figures of that second.
    """
    import mujoco
    import numpy as np
    import quadruped_learning as learning

    from hpsearch.objectives.tasks.quadruped import MODEL_FILE

    model = mujoco.MjModel.from_xml_path(str(MODEL_FILE))
    data = mujoco.MjData(model)
    renderer = mujoco.Renderer(model, HEIGHT, WIDTH)
    camera = mujoco.MjvCamera()
    camera.distance, camera.elevation = 1.05, -10.0
    images, speeds, knees, feet = [], [], [], []
    chosen = np.linspace(0, FILM_STEPS - 1, N_FRAMES).round()
    with learning.open_env("a1", learning.EVALUATION_SEED, num_envs=1) as robots:
        observations = robots.reset()
        for step in range(WARM_UP_STEPS + FILM_STEPS):
            observations, _, dones, _ = robots.step(agent.predict(observations))
            if dones[0]:
                raise RuntimeError("the robot fell: train for longer, or with another --seed")
            if step < WARM_UP_STEPS:
                continue
            mujoco.mj_setState(model, data, robots._state[0], mujoco.mjtState.mjSTATE_FULLPHYSICS)
            mujoco.mj_forward(model, data)
            speeds.append(robots.robots.velocity[0, 0])
            knees.append(min(data.body(f"{leg}_calf").xpos[2] for leg in LEGS))
            feet.append(robots.robots.feet_down[0].copy())
            if step - WARM_UP_STEPS in chosen:
                x, y, _ = data.body("trunk").xpos
                camera.lookat[:] = (x, y, 0.17)
                camera.azimuth = np.degrees(robots.robots.heading[0]) + 90.0
                renderer.update_scene(data, camera)
                images.append(renderer.render().copy())
    renderer.close()
    figures = {
        "forward_speed": round(float(np.mean(speeds)), 3),
        "lowest_knee_metres": round(float(np.min(knees)), 3),
        "feet_down": dict(zip(LEGS, np.mean(feet, axis=0).round(2).tolist(), strict=True)),
    }
    return images, figures


def main() -> None:
    """Trains, films and writes the picture."""
    parser = argparse.ArgumentParser(description="\n".join((__doc__ or "").split("\n")[:1]))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cpu-seconds", type=float, default=240.0)
    parser.add_argument("--wall-seconds", type=float, default=300.0)
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "quadruped_walk.png")
    args = parser.parse_args()

    import imageio.v3 as imageio
    import numpy as np
    import quadruped_learning as learning

    limits = (args.cpu_seconds, args.wall_seconds)
    with learning.trained("a1", args.seed, *limits) as (agent, _):
        images, figures = film(agent)
        figures["mean_reward"] = learning.mean_reward(agent)
    rows = [np.concatenate(images[i : i + 4], axis=1) for i in range(0, N_FRAMES, 4)]
    imageio.imwrite(args.output, np.concatenate(rows, axis=0))
    print(json.dumps(figures))


if __name__ == "__main__":
    os.environ.setdefault("MUJOCO_GL", "egl")
    sys.path.insert(0, str(ROOT))
    main()
