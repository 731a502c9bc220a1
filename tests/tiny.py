"""A config of a few thousand parameters that runs the whole training code in seconds: used by tests alone."""

from configs import default


def get_config(arg=default.VARIANTS[0]):
  config = default.base()
  config.data.update(source="folder", image_size=32, resize=0)
  config.degradation.factor = 16
  config.attack.update(eps=0.1, num_steps=2, num_seeds=2)
  config.model.update(width=2, critic_width=2, init="he_normal", residual_scale=0.5)
  config.optim.update(learning_rate=1e-3, r1_weight=0.1, decay_steps=(6,))
  config.train.update(
    num_steps=8, batch_size=8, log_every_steps=3, checkpoint_every_steps=2, image_every_steps=4, steps_per_dispatch=1
  )
  config.eval.curve_num_examples = 0  # its programs take seconds to compile
  return default.finish(config, arg)
