"""Stand-ins for the simulator's downloads: robots of primitives, and a floor, written by `pxr`.

Run by the simulator's interpreter: `python robots.py FOLDER`; then ISAACSIM_ASSET_ROOT=FOLDER.
Lengths and masses of the Unitree A1 are those of its maker's published description.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

from pxr import Gf, Sdf, Usd, UsdGeom, UsdPhysics

TRUNK_SIZE, TRUNK_KG = (0.267, 0.194, 0.114), 4.713
HIP_KG, THIGH_KG, CALF_KG, FOOT_KG = 0.696, 1.013, 0.166, 0.06
HIP_X, HIP_Y, THIGH_Y, LINK = 0.1805, 0.047, 0.0838, 0.2
FOOT_RADIUS = 0.02
LIMITS = {"hip": (-0.803, 0.803), "thigh": (-1.047, 4.189), "calf": (-2.697, -0.916)}


def stage_with(path: Path, name: str) -> tuple[Usd.Stage, Usd.Prim]:
    """Returns a new stage with one default prim."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stage = Usd.Stage.CreateNew(str(path))
    UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.z)
    UsdGeom.SetStageMetersPerUnit(stage, 1.0)
    root = UsdGeom.Xform.Define(stage, f"/{name}").GetPrim()
    stage.SetDefaultPrim(root)
    return stage, root


def body(stage: Usd.Stage, path: str, at: tuple[float, float, float], kg: float) -> Usd.Prim:
    """Adds a rigid body at a place of the robot's frame."""
    prim = UsdGeom.Xform.Define(stage, path)
    prim.AddTranslateOp().Set(Gf.Vec3d(*at))
    UsdPhysics.RigidBodyAPI.Apply(prim.GetPrim())
    UsdPhysics.MassAPI.Apply(prim.GetPrim()).CreateMassAttr(kg)
    return prim.GetPrim()


def box(stage: Usd.Stage, path: str, size: tuple[float, ...], at: tuple[float, ...]) -> None:
    """Adds a collision box to a body."""
    cube = UsdGeom.Cube.Define(stage, path)
    cube.CreateSizeAttr(1.0)
    cube.AddTranslateOp().Set(Gf.Vec3d(*at))
    cube.AddScaleOp().Set(Gf.Vec3f(*size))
    UsdPhysics.CollisionAPI.Apply(cube.GetPrim())


def joint(
    stage: Usd.Stage, path: str, parent: Usd.Prim | None, child: Usd.Prim,
    at: tuple[float, float, float], kind: Any, axis: str = "X",
    limits: tuple[float, float] | None = None, drive: str = "angular",
) -> None:  # fmt: skip
    """Joins two bodies; `at` is in the parent's frame, and the child's origin lies there."""
    made = kind.Define(stage, path)
    if parent is not None:
        made.CreateBody0Rel().SetTargets([parent.GetPath()])
    made.CreateBody1Rel().SetTargets([child.GetPath()])
    made.CreateLocalPos0Attr(Gf.Vec3f(*at))
    made.CreateLocalPos1Attr(Gf.Vec3f(0.0))
    made.CreateLocalRot0Attr(Gf.Quatf(1.0))
    made.CreateLocalRot1Attr(Gf.Quatf(1.0))
    if limits is None:
        return
    made.CreateAxisAttr(axis)
    made.CreateLowerLimitAttr(limits[0])
    made.CreateUpperLimitAttr(limits[1])
    UsdPhysics.DriveAPI.Apply(made.GetPrim(), drive).CreateTypeAttr("force")


def write_a1(path: Path) -> None:
    """Writes a Unitree A1 of boxes and spheres."""
    stage, root = stage_with(path, "a1")
    UsdPhysics.ArticulationRootAPI.Apply(root)
    trunk = body(stage, "/a1/trunk", (0.0, 0.0, 0.0), TRUNK_KG)
    box(stage, "/a1/trunk/box", TRUNK_SIZE, (0.0, 0.0, 0.0))
    for leg, x, y in (("FL", 1, 1), ("FR", 1, -1), ("RL", -1, 1), ("RR", -1, -1)):
        hip_at = (x * HIP_X, y * HIP_Y, 0.0)
        thigh_at = (hip_at[0], hip_at[1] + y * THIGH_Y, 0.0)
        calf_at, foot_at = ((*thigh_at[:2], -length) for length in (LINK, 2 * LINK))
        hip = body(stage, f"/a1/{leg}_hip", hip_at, HIP_KG)
        thigh = body(stage, f"/a1/{leg}_thigh", thigh_at, THIGH_KG)
        calf = body(stage, f"/a1/{leg}_calf", calf_at, CALF_KG)
        foot = body(stage, f"/a1/{leg}_foot", foot_at, FOOT_KG)
        box(stage, f"/a1/{leg}_hip/box", (0.04, 0.04, 0.04), (0.0, 0.0, 0.0))
        box(stage, f"/a1/{leg}_thigh/box", (0.034, 0.024, LINK), (0.0, 0.0, -LINK / 2))
        box(stage, f"/a1/{leg}_calf/box", (0.016, 0.016, 0.9 * LINK), (0.0, 0.0, -LINK / 2))
        ball = UsdGeom.Sphere.Define(stage, f"/a1/{leg}_foot/ball")
        ball.CreateRadiusAttr(FOOT_RADIUS)
        UsdPhysics.CollisionAPI.Apply(ball.GetPrim())
        for name, parent, child, at, axis in (
            ("hip", trunk, hip, hip_at, "X"),
            ("thigh", hip, thigh, (0.0, y * THIGH_Y, 0.0), "Y"),
            ("calf", thigh, calf, (0.0, 0.0, -LINK), "Y"),
        ):
            low, high = (math.degrees(limit) for limit in LIMITS[name])
            joint(
                stage, f"{parent.GetPath()}/{leg}_{name}_joint", parent, child, at,
                UsdPhysics.RevoluteJoint, axis, (low, high),
            )  # fmt: skip
        joint(
            stage, f"{calf.GetPath()}/{leg}_foot_fixed", calf, foot, (0.0, 0.0, -LINK),
            UsdPhysics.FixedJoint,
        )  # fmt: skip
    stage.GetRootLayer().Save()


def write_cartpole(path: Path) -> None:
    """Writes a cart on a rail with a pole."""
    stage, root = stage_with(path, "cartpole")
    UsdPhysics.ArticulationRootAPI.Apply(root)
    slider = body(stage, "/cartpole/slider", (0.0, 0.0, 0.0), 1.0)
    cart = body(stage, "/cartpole/cart", (0.0, 0.0, 0.0), 1.0)
    pole = body(stage, "/cartpole/pole", (0.0, 0.0, 0.0), 0.5)
    box(stage, "/cartpole/cart/box", (0.2, 0.25, 0.2), (0.0, 0.0, 0.0))
    box(stage, "/cartpole/pole/box", (0.04, 0.06, 1.0), (0.12, 0.0, 0.5))
    joint(stage, "/cartpole/slider/root", None, slider, (0.0, 0.0, 0.0), UsdPhysics.FixedJoint)
    joint(
        stage, "/cartpole/slider/slider_to_cart", slider, cart, (0.0, 0.0, 0.0),
        UsdPhysics.PrismaticJoint, "Y", (-4.0, 4.0), "linear",
    )  # fmt: skip
    joint(
        stage, "/cartpole/cart/cart_to_pole", cart, pole, (0.0, 0.0, 0.0),
        UsdPhysics.RevoluteJoint, "X", (-1e4, 1e4),
    )  # fmt: skip
    stage.GetRootLayer().Save()


def write_floor(path: Path) -> None:
    """Writes an endless floor."""
    stage, _ = stage_with(path, "floor")
    plane = UsdGeom.Plane.Define(stage, "/floor/CollisionPlane")
    plane.CreateAxisAttr("Z")
    UsdPhysics.CollisionAPI.Apply(plane.GetPrim())
    # The spawner tints the download's material.
    shader = stage.DefinePrim("/floor/Looks/theGrid/Shader", "Shader")
    shader.CreateAttribute("inputs:diffuse_tint", Sdf.ValueTypeNames.Color3f)
    stage.GetRootLayer().Save()


def write_assets(folder: Path) -> None:
    """Writes all of it below `folder`, where Isaac Lab looks for its downloads."""
    ours = folder / "Isaac" / "IsaacLab"
    write_a1(ours / "Robots/Unitree/A1/a1.usd")
    write_cartpole(ours / "Robots/Classic/Cartpole/cartpole.usd")
    grid = "Environments/Grid/default_ground_plane_checker_v1/default_ground_plane.usda"
    write_floor(ours / grid)


if __name__ == "__main__":
    write_assets(Path(sys.argv[1]))
