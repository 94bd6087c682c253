// LayerNorm: (x - mean) * rstd, rstd = 1 / sqrt(var + eps), population variance.
// Parameters: eps, 1 / channels.
#include "fused_rows.cuh"

struct LayerNorm {
    // The mean is shift + rest. It is never formed: where it is many deviations from 0 the sum
    // would lose the digits that matter.
    struct Measure {
        float shift;
        float rest;
        float deviations; // sum of the squared deviations from the mean
    };
    float shift, rstd, bias;

    // First and second moment about a shift, which need not be the mean: that of the first vectors will
    // do. Each warp has its own, so that the block waits for its warps once and not twice.
    template <class Row> MEMBER static Measure measure(Row& row, Group& group, u32 channels) {
        const u32 vectors = group.threads * Row::N;
        const u32 some = !group.in_warp() ? row.in_warp(1) : channels < vectors ? channels : vectors;
        const float n = group.in_warp() ? 0.0f : float(row.channels_of_warp());
        Chains values;
        row.each_of_first([&](u32 i, float x) { values.add(i, x); });
        float sum[1] = {values.total()};
        group.sum_in_warp(sum);
        const float shift = some > 0 ? sum[0] * reciprocal_fast(float(some)) : 0.0f;
        Chains first, second;
        row.each([&](u32 i, float x) {
            first.add(i, x - shift);
            second.add_square(i, x - shift);
        });
        float moments[2] = {first.total(), second.total()};
        group.sum_in_warp(moments);
        if (!group.in_warp()) {
            float warp[4] = {n, shift, moments[0], moments[1]};
            group.exchange(warp);
            return of_warps(group, warp, reciprocal_fast(float(channels)));
        }
        return of_moments(shift, moments, reciprocal_fast(float(channels)));
    }
    MEMBER static Measure of_moments(float shift, const float (&moments)[2], float inverse) {
        const float rest = moments[0] * inverse;
        return {shift, rest, multiply_add(-moments[0], rest, moments[1])};
    }
    // Of what warps found, each lane one's: the moments about one shift, and their sums.
    MEMBER static Measure of_warps(Group& group, const float (&warp)[4], float inverse) {
        float sum[1] = {multiply_add(warp[0], warp[1], warp[2])};
        group.sum_exchanged(sum);
        const float shift = sum[0] * inverse, delta = warp[1] - shift, moved = warp[0] * delta;
        const float twice = multiply_add(warp[2], 2.0f, moved);
        float moments[2] = {warp[2] + moved, multiply_add(delta, twice, warp[3])};
        group.sum_exchanged(moments);
        return of_moments(shift, moments, inverse);
    }
    // After Chan, Golub & LeVeque, with means relative to the first segment's shift.
    MEMBER static void merge(Measure& into, float n, const Measure& more, float n_more) {
        const float delta = ((more.shift - into.shift) + more.rest) - into.rest;
        const float share = n_more * reciprocal_fast(n + n_more);
        into.rest = multiply_add(delta, share, into.rest);
        into.deviations += multiply_add(delta * delta, n * share, more.deviations);
    }
    MEMBER static Measure known(const Statistics& row) { return {row.mean, row.mean_low, row.m2}; }
    MEMBER static Statistics statistics(const Measure& row, float channels) {
        // What rounding takes from the sum (Knuth).
        const float mean = row.shift + row.rest, rest = mean - row.shift;
        const float low = (row.shift - (mean - rest)) + (row.rest - rest);
        return {channels, mean, low, row.deviations < 0.0f ? 0.0f : row.deviations};
    }
    MEMBER LayerNorm(const Measure& row, float per_channel, const Args& args) : shift(row.shift) {
        // Rounding can take the deviations of a constant row below 0; NaN must pass.
        const float deviations = row.deviations < 0.0f ? 0.0f : row.deviations;
        rstd = rsqrt_exact(multiply_add(deviations, per_channel, args.parameter[0]));
        bias = -row.rest * rstd;
    }
    MEMBER float operator()(float x) const { return multiply_add(x - shift, rstd, bias); }
};

ROW_KERNELS(layer_norm, LayerNorm)
FUSED_ROW_KERNELS(layer_norm, LayerNorm)
