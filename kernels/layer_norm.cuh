// LayerNorm: (x - mean) * rstd, rstd = 1 / sqrt(var + eps), population variance.
// Parameters: eps, 1 / channels.
#pragma once

#include "rows.cuh"
#include "statistics.cuh"

struct LayerNorm {
    // The mean is shift + rest. It is never formed: where it is many deviations from 0 the sum
    // would lose the digits that matter.
    struct Measure {
        float shift;
        float rest;
        float deviations; // sum of the squared deviations from the mean
    };
    float shift, rstd, bias;

    MEMBER LayerNorm(float shift, float rstd, float bias) : shift(shift), rstd(rstd), bias(bias) {}

    // From the sums of the elements and of their squares, which are one exchange between the threads. They lose
    // at most one bit of the deviations, unless the mean is more than one of them away from 0: then the same about
    // the mean that was found. A row that is near finds the same bits again, if one beside it is not: they must not
    // depend on that.
    template <class Row> MEMBER static Measure measure(Row& row, Group& group, u32 channels) {
        Measure found{};
        if constexpr (Row::KEPT) {
            found = about<true>(row, group, Zero{}, channels);
            if (group.any(!is_near(found, channels))) {
                found = about<false>(row, group, Shift{next_shift(found, channels)}, channels);
            }
        } else {
            // One loop for both passes, since there are no registers for two.
            float shift = 0.0f;
#pragma unroll 1
            for (u32 pass = 0; pass < 2; ++pass) {
                found = about<false>(row, group, Shift{shift}, channels);
                if (!group.any(!is_near(found, channels))) break;
                shift = next_shift(found, channels);
            }
        }
        return found;
    }
    MEMBER static bool is_near(const Measure& found, u32 channels) {
        return found.rest * found.rest * float(channels) <= found.deviations;
    }
    MEMBER static float next_shift(const Measure& found, u32 channels) {
        return is_near(found, channels) ? 0.0f : found.rest;
    }
    // Where deviations are measured from.
    struct Zero {
        MEMBER float shift() const { return 0.0f; }
        MEMBER float operator()(float x) const { return x; }
    };
    struct Shift {
        float value;
        MEMBER float shift() const { return value; }
        MEMBER float operator()(float x) const { return x - value; }
    };
    // ALWAYS if no row of a call does without it.
    template <bool ALWAYS, class Row, class From>
    MEMBER static Measure about(Row& row, Group& group, const From& from, u32 channels) {
        Chains first, second;
        row.each([&](u32 i, float x) {
            first.add(i, from(x));
            second.add_square(i, from(x));
        });
        float moments[2] = {first.total(), second.total()};
        if constexpr (ALWAYS) group.sum(moments);
        else group.sum_by_the_way(moments);
        const float rest = moments[0] * reciprocal_fast(float(channels));
        return {from.shift(), rest, multiply_add(-moments[0], rest, moments[1])};
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
    template <class Arguments>
    MEMBER LayerNorm(const Measure& row, float per_channel, const Arguments& args) : shift(row.shift) {
        // Rounding can take the deviations of a constant row below 0; NaN must pass.
        const float deviations = row.deviations < 0.0f ? 0.0f : row.deviations;
        rstd = rsqrt_exact(multiply_add(deviations, per_channel, args.parameter[0]));
        bias = -row.rest * rstd;
    }
    MEMBER float operator()(float x) const { return multiply_add(x - shift, rstd, bias); }
};
