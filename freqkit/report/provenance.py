"""What a run cost, and where its numbers come from: rows of facts on every page."""

from freqkit.report.svg import percent


def model_rows(record):
    model, data = record.get("model", {}), record.get("data", {})
    rows = []
    if model:
        classes = f", {model['num_classes']} classes" if model.get("num_classes") else ""
        rows.append(("Model", f"{model.get('name', '–')}{classes}"))
        weights = model.get("weights")
        if isinstance(weights, dict):
            rows.append(("Weights", str(weights.get("file"))))
        elif model.get("trained"):
            rows.append(("Weights", f"trained here, {model['trained'].get('epochs')} epochs"))
        elif model.get("pretrained"):
            rows.append(("Weights", "published by timm"))
        if isinstance(smooth := model.get("smooth_kernels"), dict):
            how = ", normalised" if smooth.get("normalise") else ""
            rows.append(("First kernels", f"smoothed, rho {smooth.get('rho')}{how}"))
    if data:
        side = "×".join(str(n) for n in data.get("size", []))
        source = data.get("root") or data.get("source") or "–"
        rows.append(("Images", f"{data.get('images', 0):,} of {source}{', ' + side + ' px' if side else ''}"))
        if data.get("preprocessing"):
            rows.append(("Brought to size", data["preprocessing"]))
        subset = data.get("subset")
        if isinstance(subset, dict):
            rows.append(("Part of the set", ", ".join(f"{key} {value}" for key, value in subset.items())))
        if data.get("limit_per_class"):
            rows.append(("Limit", f"{data['limit_per_class']} images per class"))
        if data.get("split_fraction"):
            rows.append(("Split", f"{percent(data['split_fraction'])} of each class"))
    return rows


def cost_rows(record):
    rows = []
    forwards, seconds = record.get("forwards"), record.get("seconds")
    work, unit = forwards, "forwards"
    if forwards:
        rows.append(("Model forwards", f"{forwards:,}"))
    if record.get("backwards"):
        rows.append(("Model backwards", f"{record['backwards']:,}"))
        work, unit = forwards + 2 * record["backwards"], "forward-equivalents"
        rows.append(("Forward-equivalents", f"{work:,} (a backward counts two)"))
    if record.get("forwards_saved"):
        rows.append(("Forwards saved by stopping and equal masks", f"{record['forwards_saved']:,}"))
    if seconds:
        rows.append(("Wall time", duration(seconds)))
        if forwards:
            rows.append(("Speed", f"{work / seconds:,.0f} {unit}/s"))
        if record.get("seconds_in_model") and not _of_one_session(record):
            rows.append(("In the model", percent(record["seconds_in_model"] / seconds)))
    if record.get("device"):
        count = record.get("threads")
        threads = f", {count} thread{'s' if count > 1 else ''}" if count else ""
        rows.append(("Device", f"{record['device']}{threads}"))
    if record.get("sessions", 1) > 1:
        rows.append(("Sessions", f"{record['sessions']} (resumed)"))
    return rows


def _of_one_session(record):
    """Whether the seconds in the model are those of the last session alone, as in runs of before 1.1 that went on."""
    return record.get("sessions", 1) > 1 and not record.get("seconds_of_all_sessions")


def duration(seconds):
    """3725 -> '1 h 2 min'.

    Example:
        >>> duration(3725), duration(75), duration(4.26)
        ('1 h 2 min', '1 min 15 s', '4.3 s')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {seconds} s"


def provenance_rows(record):
    rows = []
    versions = record.get("identity", {}).get("versions") or record.get("versions") or {}
    if versions:
        rows.append(("Versions", ", ".join(f"{name} {version}" for name, version in versions.items())))
    weights = record.get("model", {}).get("state_sha256")
    if weights:
        rows.append(("Weights (SHA-256)", weights[:16] + "…"))
    data = record.get("data", {}).get("fingerprint")
    if data:
        rows.append(("Images (fingerprint)", data[:16] + "…"))
    return rows
