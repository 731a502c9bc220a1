"""The training step of prt_jax.training.step in PyTorch: a strong opponent for timing, not a way to train.

What it spares: channels_last throughout; no parameter gradients in the attack; the stem and its gradient computed once
for all noise seeds; the reference restorations reused as one side of the loss; each attack gradient freed before the
next; fused Adam. It also spares the gradient norms and consistency scalars that prt_jax measures at every step.
"""

import contextlib
import dataclasses

import torch
import torch.nn.functional as F
from ml_collections import ConfigDict

from benchmarks.torch_networks import LEVELS, Critic, UNet
from prt_jax.degradations import make_degradation
from prt_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Degradation:
  """prt_jax.degradations without noise, on [B,C,H,W]."""

  kind: str
  factor: int

  def degrade(self, x: torch.Tensor) -> torch.Tensor:
    """Block means, or the visible lower quarter."""
    return F.avg_pool2d(x, self.factor) if self.kind == "super_resolution" else x[:, :, -(x.shape[2] // 4) :]

  def network_input(self, y: torch.Tensor) -> torch.Tensor:
    """y at the image's size: replicated, or below zeros."""
    if self.kind == "super_resolution":
      return F.interpolate(y, scale_factor=self.factor, mode="nearest")
    return F.pad(y, (0, 0, 3 * y.shape[2], 0))

  def project(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The nearest image to x that agrees with y."""
    if self.kind == "super_resolution":
      return x - self.network_input(self.degrade(x) - y)
    return torch.cat([x[:, :, : -y.shape[2]], y], 2)


class TorchGame:
  """Both players, their optimisers and their steps.

  Args:
    config: as of prt_jax.training.gan.make_game.
    device: 'cpu' or 'cuda'.
    autocast: compute in bfloat16 under torch.autocast; parameters and losses stay float32.
    compiled: networks go through torch.compile, but for the critic under R1, whose second derivative it lacks.
    seeds_per_pass: noise seeds that share one pass of the trunk, each a batch of its own for its statistics.
  """

  def __init__(
    self, config: ConfigDict, *, device="cpu", autocast=False, compiled=False, seeds_per_pass: int = 1
  ) -> None:
    if config.attack.batch_norm != "batch" or config.degradation.noise_std or config.model.kind != "unet":
      raise UserError("the PyTorch peer knows images, attack.batch_norm=batch and degradation.noise_std=0 alone")
    degradation = make_degradation(config.degradation, config.data.image_size)
    if config.degradation.kind not in ("super_resolution", "inpainting"):
      raise UserError(f"the PyTorch peer knows super_resolution and inpainting, not {degradation.title}")
    model = config.model
    self.config, self.device, self.seeds_per_pass = config, device, seeds_per_pass
    self.degradation = Degradation(config.degradation.kind, config.degradation.factor)
    self.generator = UNet(model.width, not degradation.removes_constants).to(device, memory_format=torch.channels_last)
    self.critic = Critic(model.critic_width, config.data.image_size, model.residual_scale)
    self.critic.to(device, memory_format=torch.channels_last)

    def maybe_compile(module):
      return torch.compile(module, dynamic=False) if compiled else module

    self._stem, self._trunk = maybe_compile(self.generator.stem), maybe_compile(self.generator.trunk)
    self._judge = maybe_compile(self.critic)
    self.generator_optimizer, self.critic_optimizer = (
      torch.optim.Adam(
        player.parameters(), config.optim.learning_rate, betas=(config.optim.b1, config.optim.b2), fused=True
      )
      for player in (self.generator, self.critic)
    )
    self._precision = (lambda: torch.autocast(device, torch.bfloat16)) if autocast else contextlib.nullcontext

  def prepare(self, images: torch.Tensor) -> torch.Tensor:
    """uint8 [B,H,W,3] -> float32 [B,3,H,W] in [0, 1], which is channels_last as it lies."""
    return (images.to(self.device).float() / 255).permute(0, 3, 1, 2)

  def draw_noise(self, num_seeds: int, batch_size: int) -> tuple[torch.Tensor, ...]:
    """S draws of Z, each of the four [S, B, 1, H, W]; zeros for a deterministic model."""
    size, draw = self.config.data.image_size, torch.randn if self.config.model.stochastic else torch.zeros
    shapes = [(num_seeds, batch_size, 1, size >> level, size >> level) for level in range(LEVELS)]
    return tuple(draw(shape, device=self.device) for shape in shapes)

  def _trunk_of(self, features, y, z, track=False):
    """The consistent restorations [n*B,3,H,W] of y from the stem's features [B,...]; z: leaves [n, B, ...]."""
    num_seeds = len(z[0])
    if num_seeds > 1:
      features = features.repeat(num_seeds, 1, 1, 1).contiguous(memory_format=torch.channels_last)
      y = y.repeat(num_seeds, 1, 1, 1)
    with self._precision():
      x = self._trunk(features, tuple(noise.flatten(0, 1) for noise in z), num_seeds, track)
    return self.degradation.project(x.to(y.dtype), y)

  def _stem_of(self, y, track=False):
    with self._precision():
      return self._stem(self.degradation.network_input(y), 1, track)

  def _passes(self, z):
    """z in parts of seeds_per_pass seeds."""
    return list(zip(*(noise.split(self.seeds_per_pass) for noise in z), strict=True))

  def _restore_seeds(self, y, passes, track=False):
    """A list of restorations, one tensor a pass; with track, the first seed goes alone and moves the averages."""
    features = self._stem_of(y, track)
    restored = [self._trunk_of(features, y, passes[0], track)] if track else []
    return restored + [self._trunk_of(features, y, z) for z in passes[len(restored) :]]

  def critic_step(self, images: torch.Tensor, z=None) -> dict[str, torch.Tensor]:
    """One update of the critic. images: [B,3,H,W]; z: [1, B, ...] leaves, drawn if not given."""
    y = self.degradation.degrade(images)
    z = self.draw_noise(1, len(images)) if z is None else z
    with torch.no_grad():
      fake = self._trunk_of(self._stem_of(y), y, z)
    self.critic_optimizer.zero_grad()
    real = images.detach().requires_grad_()
    with self._precision():
      real_logits = self.critic(real)
      fake_logits = self._judge(fake)
    real_logits, fake_logits = real_logits.to(images.dtype), fake_logits.to(images.dtype)
    (gradient,) = torch.autograd.grad(real_logits.sum(), real, create_graph=True)
    r1 = gradient.square().sum((1, 2, 3)).mean()
    adversarial = (F.softplus(-real_logits) + F.softplus(fake_logits)).mean()
    # Not with respect to the images, whose gradient was R1's alone.
    (adversarial + self.config.optim.r1_weight * r1).backward(inputs=list(self.critic.parameters()))
    self.critic_optimizer.step()
    return {"critic_loss": adversarial.detach(), "r1": r1.detach()}

  def generator_step(self, images: torch.Tensor, *, robust: bool, z=None, start=None) -> dict[str, torch.Tensor]:
    """One update of the generator. z: [S, B, ...] leaves; start: the attack's first direction; drawn if not given."""
    config = self.config
    y = self.degradation.degrade(images)
    num_seeds = config.attack.num_seeds if robust else 1
    z = self.draw_noise(num_seeds, len(images)) if z is None else z
    # The first seed's is the plain pass, which moves the running averages, hence goes alone.
    first, rest = tuple(noise[:1] for noise in z), tuple(noise[1:] for noise in z)
    passes = [first, *(self._passes(rest) if num_seeds > 1 else [])]
    self.generator_optimizer.zero_grad()
    self.critic.requires_grad_(False)
    restored = self._restore_seeds(y, passes, track=True)
    with self._precision():
      logits = self._judge(restored[0])
    adversarial = F.softplus(-logits.to(images.dtype)).mean()
    scalars, total = {"generator_loss": adversarial.detach()}, adversarial
    if robust:
      delta = self.search(y, passes, [x.detach() for x in restored], num_seeds, start)
      attacked = self._restore_seeds(y + delta, passes)
      change = sum((a - b).square().sum() for a, b in zip(restored, attacked, strict=True))
      robustness = change / (num_seeds * images.numel())
      total = total + config.optim.robust_weight * robustness
      scalars |= {"robustness_loss": robustness.detach(), "delta_norm": norm(delta).mean()}
    total.backward()
    self.critic.requires_grad_(True)
    self.generator_optimizer.step()
    return scalars

  def search(self, y, passes, references, num_seeds, start=None) -> torch.Tensor:
    """delta [B,3,h,w] of prt_jax.attacks.adversarial_search."""
    attack = self.config.attack
    delta = torch.randn_like(y) if start is None else start
    delta = delta * (attack.eps / norm(delta))
    mean, square = torch.zeros_like(delta), torch.zeros_like(delta)
    self.generator.requires_grad_(False)
    for step in range(1, attack.num_steps + 1):
      gradient = self._attack_gradient(y, delta, passes, references) / num_seeds
      mean.lerp_(gradient, 0.1)
      square.lerp_(gradient.square(), 0.001)
      delta = delta + attack.learning_rate * (mean / (1 - 0.9**step)) / ((square / (1 - 0.999**step)).sqrt() + 1e-8)
      delta = delta * (attack.eps / norm(delta)).clamp(max=1)
    self.generator.requires_grad_(True)
    return delta

  def _attack_gradient(self, y, delta, passes, references):
    delta = delta.detach().requires_grad_()
    attacked_y = y + delta
    features = self._stem_of(attacked_y)
    # Passes meet at the stem's features and at the measurement: their gradients are summed there, one pass at a time.
    ends = features.detach().requires_grad_(), attacked_y.detach().requires_grad_()
    sums = None
    for z, reference in zip(passes, references, strict=True):
      loss = (self._trunk_of(*ends, z) - reference).square().sum()
      parts = torch.autograd.grad(loss, ends)
      sums = parts if sums is None else [a + b for a, b in zip(sums, parts, strict=True)]
    return torch.autograd.grad((features, attacked_y), delta, sums)[0]


def norm(delta: torch.Tensor) -> torch.Tensor:
  """L2 of each example, [B,1,1,1]."""
  return torch.linalg.vector_norm(delta, dim=(1, 2, 3), keepdim=True)
