"""What the figures share: labels that cover nothing."""

from experiments import figures


def test_labels_cover_nothing():
  figure, axes = figures.new_figure(1, 1, 4, 3)
  points = {name: (1 + 0.02 * number, 1 + 0.01 * number) for number, name in enumerate("abc")}
  axes.set(xlim=(0, 2), ylim=(0, 2))
  texts = figures.place_labels(figure, axes, points, {name: f"label {name}" for name in points})
  boxes = [text.get_window_extent() for text in texts]
  assert not any(boxes[i].overlaps(boxes[j]) for i in range(3) for j in range(i))
  assert not any(box.contains(*pixel) for box in boxes for pixel in axes.transData.transform(list(points.values())))


def test_a_label_leaves_an_obstacle_free():
  figure, axes = figures.new_figure(1, 1, 4, 3)
  axes.set(xlim=(0, 2), ylim=(0, 2))
  (free,) = figures.place_labels(figure, axes, {"a": (1, 1)}, {"a": "label"})
  middle = axes.transData.inverted().transform(free.get_window_extent().get_points().mean(0))
  free.remove()
  (moved,) = figures.place_labels(figure, axes, {"a": (1, 1)}, {"a": "label"}, obstacles=[middle])
  assert not moved.get_window_extent().contains(*axes.transData.transform(middle))
