"""Every field of a run, with its unit and its default: paper A on CelebA.

The files of configs/ change a few fields each and end in `finish`, which applies the variant (and
the scale: the paper's, or `demo`, `mini`, `small`, `lite`) named after the colon of
`--config=NAME:VARIANT[,SCALE]`.
"""

import pathlib
import runpy
from collections.abc import Callable, Mapping

from ml_collections import ConfigDict

from prt_jax.errors import UserError

VARIANTS = ("stochastic-robust", "stochastic-erratic", "deterministic-robust", "deterministic-erratic")


def load(argument: str) -> ConfigDict:
  """The config that NAME[:VARIANT[,SCALE]] means, NAME as in config_file; UserError where there is none."""
  path, *options = config_file(argument).split(":", 1)
  return runpy.run_path(path)["get_config"](*options)


def config_file(argument: str) -> str:
  """PATH[:VARIANT[,SCALE]], where the argument may have the name of a file of configs/ in place of the path.

  'sr16:stochastic-robust,demo' is one of prt_jax's own, from whatever directory; 'mine.py' is a file of the user's.

  Raises:
    UserError: neither a name nor a file.
  """
  name, *options = argument.split(":", 1)
  own = {path.stem: str(path) for path in sorted(_folder().glob("*.py"))}
  if name not in own and not pathlib.Path(name).is_file():
    raise UserError(f"--config={name} is no file, and none of prt_jax's own configs: {', '.join(own)}")
  return ":".join([own.get(name, name), *options])


def _folder() -> pathlib.Path:
  """configs/: in a wheel inside the package, in a checkout beside it."""
  package = pathlib.Path(__file__).parent
  return package / "configs" if (package / "configs").is_dir() else package.parent / "configs"


def get_config(arg: str = VARIANTS[0]) -> ConfigDict:
  """The defaults with a variant applied; a runnable config of its own (the same run as sr16)."""
  return finish(base(), arg)


def base() -> ConfigDict:
  """The fields that all configs share, before a file's own changes."""
  config = ConfigDict()
  config.seed = 0  # every random number of a run follows from it; 0 to 2^32 - 1

  config.data = data = ConfigDict()
  data.source = "tfds"  # tfds | folder | sample (photographs embedded in scikit-image) | points: data/sources.py
  data.name = "celeb_a"  # tfds: data set name, with its config and version if wanted; points: disk | ellipses
  data.path = ""  # folder: where the images are; tfds: its data_dir ("" = TFDS's own default)
  data.image_size = 64  # pixels; side of the square centre crop
  data.resize = 102  # pixels; both sides are resized to it before the crop; 0 = shorter side to image_size
  data.train_fraction = 0.8  # share of the official train split that trains; the rest joins validation
  data.skip_unreadable = False  # leave out images that cannot be read, named in the log; False: the first one stops
  data.cache_dir = "~/.cache/prt_jax"  # prepared uint8 arrays; one folder per fingerprint
  data.placement = "auto"  # device (whole set in accelerator memory) | host | auto

  config.degradation = degradation = ConfigDict()
  # super_resolution (block averaging) | inpainting (upper 3/4 masked) | gaussian_blur | jpeg | denoising (noise_std
  # alone) | first_coordinate (points of the plane) | a chain, as blur:1.2+bicubic:4+noise:0.02 (docs/degradations.md) |
  # package.module:NAME (docs/extending.md)
  degradation.kind = "super_resolution"
  degradation.factor = 16  # super_resolution: low-resolution pixels are factor x factor means
  degradation.noise_std = 0.0  # std of the Gaussian noise added to the measurement, pixels in [0, 1]

  degradation.blur_sigma = 2.0  # gaussian_blur: its standard deviation, pixels
  degradation.quality = 10  # jpeg: libjpeg's quality, 1 to 100

  # super_resolution, gaussian_blur of noisy measurements: exact (D(restoration) = y) | statistical (||D(restoration) -
  # y||^2 / n is at most noise_std^2, what the original has on average)
  degradation.consistency = "exact"

  config.model = model = ConfigDict()
  model.kind = "unet"  # models/networks.py: unet (and a convolutional critic), for images | mlp (twice), for points
  model.stochastic = True  # Z is drawn; False: Z = 0
  model.noise = "normal"  # Z ~ normal (N(0, I)) | uniform (U[0, 1])
  model.noise_scale = 1.0  # factor of every draw of Z; tried at `mini`: docs/results/faces_mini.md
  model.width = 24  # s: channels of the U-Net's stem; mlp: hidden units
  model.critic_width = 16  # f: channels of the critic's stem; mlp: hidden units
  model.dtype = "float32"  # compute type, float32 | bfloat16; parameters and losses stay float32

  # How a training multiplies float32 numbers on an accelerator; a CPU knows float32 alone. highest (float32) | tf32 (10
  # bits of mantissa on a GPU, three bfloat16 passes on a TPU) | default (JAX's: TF32 on a GPU, one bfloat16 pass, of 7
  # bits, on a TPU). Whatever measures multiplies in float32 and computes the nets in float32.
  model.precision = "default"
  model.init = "torch"  # kernels: torch (std 1/sqrt(3 fan_in)) | lecun_normal | he_normal; the paper is silent
  model.residual_scale = 0.1  # factor of a critic block's residual branch
  model.sync_batch_norm = True  # BatchNorm statistics over all devices, not each device's own

  config.attack = attack = ConfigDict()
  attack.eps = 0.138  # L2 radius over one measurement, pixels in [0, 1]
  attack.num_steps = 5  # Adam steps of the inner search
  attack.learning_rate = 1.0  # Adam's, betas (0.9, 0.999)
  attack.num_seeds = 10  # S: draws of Z the search averages over; 1 when deterministic
  # Seeds that go through the nets together, in a loop over such groups; changes no value but by rounding. 1 needs least
  # memory, but leaves an accelerator less to do in parallel. 0 = 1 on a CPU (but for points), all elsewhere.
  attack.seeds_at_once = 0
  attack.batch_norm = "batch"  # statistics in the search: batch (as in training) | frozen (running averages)

  config.optim = optim = ConfigDict()
  optim.learning_rate = 1e-4  # Adam's, of generator and critic
  optim.b1 = 0.5
  optim.b2 = 0.99
  optim.decay_factor = 0.6  # the learning rate is multiplied by it at each of decay_steps
  optim.decay_steps = (400_000, 500_000, 600_000, 700_000, 750_000)  # training steps
  optim.r1_weight = 1.0  # R1 = r1_weight * E ||grad_x C(x)||^2 on real images, without a factor 1/2
  optim.robust_weight = 500.0  # lambda_R, on a mean over pixels, channels and seeds; 0 = erratic
  optim.robust_every_steps = 3  # lambda_R's term enters each so-many-th generator step

  config.train = train = ConfigDict()
  train.num_steps = 1_200_000  # generator steps, each with one critic step
  train.batch_size = 64  # images a step, over all devices; not published
  train.log_every_steps = 300  # steps; metrics are averages over this interval
  train.checkpoint_every_steps = 3_000  # steps
  train.keep_checkpoints = 3  # the newest so-many stay on disk
  train.milestone_every_steps = 0  # steps, a multiple of checkpoint_every_steps: these stay for good; 0 = none
  train.image_every_steps = 15_000  # steps; a grid of restorations
  train.steps_per_dispatch = 0  # training steps a device call; 0 = 1 on CPU, 30 on accelerators
  train.wandb_project = ""  # project of Weights & Biases that the curves go to as well; "" = none

  config.eval = evaluation = ConfigDict()
  evaluation.step = 0  # the checkpoint's training step; 0 = the newest, -1 = the best by best_by
  evaluation.num_examples = 50_000  # distinct validation inputs, and as many training images as reference
  evaluation.batch_size = 256  # images a step, over all devices; changes no value
  evaluation.num_std_seeds = 32  # draws of Z for the per-pixel standard deviation
  # inception_piq (as the paper's tool has it) | inception (torch-fidelity's FID) | squeezenet | pixels, or
  # package.module:NAME (docs/extending.md).
  evaluation.feature_extractor = "inception_piq"
  evaluation.feature_weights = ""  # file of the extractor's weights; "" = download (inception's)
  evaluation.num_neighbors = 3  # k of precision and recall
  evaluation.lpips_weights = ""  # SqueezeNet .npz of the LPIPS-style distance; "" = the extractor's, or left out
  evaluation.strong_num_examples = 1_000  # inputs under the longer search, at most num_examples; 0 = none
  evaluation.strong_num_steps = 50  # its gradient steps on the sphere, long at first (attacks.conditional_step)
  evaluation.strong_num_restarts = 3  # its random starts, beside the result of the training attack
  # Inputs under the sup-norm attacks (attacks/table.py), I-FGSM and the stronger one, and for the Jacobian's norm;
  # 0 = none.
  evaluation.curve_num_examples = 256
  evaluation.curve_alphas = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)  # their bounds, in 1/255
  evaluation.curve_num_steps = 50  # steps of I-FGSM; each of the stronger one's starts takes a fifth more
  evaluation.num_jacobian_steps = 10  # power iterations for the Jacobian's norm; 0 = none
  # While it trains (docs/training.md): evaluations of a small set each so many steps, and at the end; 0 = none.
  evaluation.every_steps = 0
  evaluation.watch_examples = 64  # distinct validation inputs of these evaluations: the first of num_examples
  evaluation.best_by = ""  # a measure (robustness_db, frechet, ...): the best checkpoint by it stays; "" = none
  return config


def flat(config: ConfigDict, prefix: str = "") -> list[tuple[str, object]]:
  """The fields of a config as ("group.name", value) pairs."""
  fields = []
  for name, value in config.items():
    fields += flat(value, f"{prefix}{name}.") if isinstance(value, ConfigDict) else [(prefix + name, value)]
  return fields


def finish(
  config: ConfigDict, arg: str, scales: Mapping[str, Callable[[ConfigDict], None]] | None = None
) -> ConfigDict:
  """Applies `VARIANT[,SCALE]` to a config and locks it; UserError names what it does not know.

  scales: {name: function that changes a config}, of a config that has others than SCALES.
  """
  scales = SCALES if scales is None else scales
  variant, *scale = arg.split(",") if arg else [VARIANTS[0]]
  if variant in scales and not scale:
    variant, scale = VARIANTS[0], [variant]
  if variant not in VARIANTS or len(scale) > 1 or not scales.keys() >= set(scale):
    raise UserError(
      f"unknown variant {arg!r}: choose one of {', '.join(VARIANTS)}, optionally followed by "
      + " or ".join(f"',{name}'" for name in scales)
    )
  randomness, robustness = variant.split("-")
  config.model.stochastic = randomness == "stochastic"
  if scale:
    scales[scale[0]](config)
  if not config.model.stochastic:
    config.attack.num_seeds = 1
  if robustness == "erratic":
    config.optim.robust_weight = 0.0
  return config.lock()


def _demo(config):
  """Minutes on two CPU cores, no download: 32x32 crops of the embedded photographs."""
  _halve_images(config)
  config.data.update(source="sample", resize=0)
  config.optim.update(learning_rate=4e-4, decay_steps=(450, 600))
  config.train.update(
    num_steps=660, batch_size=16, log_every_steps=60, checkpoint_every_steps=180, image_every_steps=180
  )
  config.eval.update(num_examples=256, batch_size=32, strong_num_examples=32, curve_num_examples=32)
  config.eval.update(curve_num_steps=10, curve_alphas=(1.0, 4.0, 16.0))


def _mini(config):
  """The papers' comparison on 32x32 images, for a CPU core: 15 to 30 minutes a variant."""
  _halve_images(config)
  config.optim.update(learning_rate=2e-4, decay_steps=(7_200,))
  # The losses of batches of 16 fall as fast a step as those of 32, at half the time.
  config.train.update(
    num_steps=9_000, batch_size=16, log_every_steps=120, checkpoint_every_steps=600, image_every_steps=1_800
  )
  _evaluate_a_thousand(config)


def _small(config):
  """The papers' images at their 64x64, with the nets of `mini`: for a GPU in minutes, for a CPU core in hours."""
  _shrink_nets(config)
  config.optim.update(learning_rate=2e-4, decay_steps=(4_800,))
  config.train.update(
    num_steps=6_000, batch_size=32, log_every_steps=120, checkpoint_every_steps=1_200, image_every_steps=1_200
  )
  _evaluate_a_thousand(config)


def _lite(config):
  """The paper's images, nets and search, 60,000 steps with a critic that starts fast: for one GPU. Not yet run."""
  _start_fast(config)
  config.optim.update(learning_rate=2e-4, decay_steps=(40_000, 50_000))
  config.train.update(num_steps=60_000, image_every_steps=6_000)
  config.eval.num_examples = 10_000


def _evaluate_a_thousand(config):
  config.eval.update(num_examples=1_000, batch_size=50, strong_num_examples=100, curve_num_examples=50)
  config.eval.update(curve_num_steps=20, curve_alphas=(1.0, 4.0, 16.0))


def _start_fast(config):
  # From the paper's values a critic starts almost linear; 1.2 million steps forgive that, a short run does not.
  config.model.update(init="he_normal", residual_scale=0.5)
  config.optim.r1_weight = 0.1


def _halve_images(config):
  _shrink_nets(config)
  config.attack.eps *= 32 / config.data.image_size  # the same input PSNR
  config.data.update(image_size=32, resize=config.data.resize // 2)


def _shrink_nets(config):
  _start_fast(config)
  config.attack.num_seeds = 2
  config.model.update(width=8, critic_width=8)
  config.eval.feature_extractor = "pixels"


SCALES = {"demo": _demo, "mini": _mini, "small": _small, "lite": _lite}
