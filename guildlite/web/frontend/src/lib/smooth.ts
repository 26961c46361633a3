/**
 * Exponential moving average without the pull to zero at its start.
 *
 * `weight` is what the past counts, 0 up to 0.999. A value that is not finite stays what it is and
 * counts for nothing. Series must be whole: smoothing a thinned one changes with the zoom.
 * The division by 1 - weight^n is the correction of Kingma and Ba, "Adam" (2015), section 3.
 */
export function smooth(values: ArrayLike<number>, weight: number): Float64Array {
  const out = new Float64Array(values.length);
  let mean = 0;
  let bias = 1;
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    if (!Number.isFinite(value)) {
      out[i] = value;
      continue;
    }
    bias *= weight;
    // The mean and its correction in one: what is constant stays so to the last digit.
    mean += ((1 - weight) / (1 - bias)) * (value - mean);
    out[i] = mean;
  }
  return out;
}
