"""Images before and after a filter, with the model's answers."""

from freqkit.data import Images
from freqkit.engine.entrance import enter
from freqkit.models import Network
from freqkit.report.examples import Example


def examples_of(model: Network, images: Images, maps, classes, *, class_index=None, per_class=4, limit=12):
    """Filter the first images of each class with its class's map, and ask the model about both.

    Args:
        model: a `freqkit.models.Classifier`.
        images: what `freqkit.data.as_images` takes.
        maps: effective masks `[C, H, W]`, real, centred.
        classes: the C names of the maps, all of them among `images.classes`.
        class_index: the logit of each of `images.classes`; default: they are the logits.
        per_class: images per class: the first ones, never the best ones.
        limit: at most this many classes.

    Returns:
        list of Example, class by class.

    The filter acts on the normalised image, as the search does: y = Re IDFT2(m DFT2((x - mean)/std));
    the picture shows y·std + mean.
    """
    import torch

    from freqkit.engine.forward import Forward
    from freqkit.ops import spectral_filter, spectrum

    model, images = enter("examples_of", model, images, class_index)
    ask, ask_filtered = Forward(model, domain="pixels"), Forward(model)
    logit = range(len(images.classes)) if class_index is None else [int(i) for i in class_index]
    names = dict(zip(logit, images.classes, strict=True))
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (model.mean, model.std))
    # the operator takes torch's layout, a map is centred
    masks = torch.fft.ifftshift(torch.as_tensor(maps, dtype=torch.float32), dim=(-2, -1))
    found = []
    for place, label in list(enumerate(classes))[:limit]:
        chosen = (images.labels == images.classes.index(label)).nonzero().flatten()[:per_class]
        before = images.images[chosen].float() / 255
        after = spectral_filter(spectrum(before, mean=model.mean, std=model.std), masks[place : place + 1])[0]
        said = [
            [names.get(i, f"logit {i}") for i in logits.argmax(1).tolist()]
            for logits in (ask(before.to(ask.device)), ask_filtered(after.to(ask.device)))
        ]
        pixels = after * std + mean
        found += [
            Example(label, before[i].numpy(), pixels[i].numpy(), said[0][i], said[1][i]) for i in range(len(chosen))
        ]
    return found
