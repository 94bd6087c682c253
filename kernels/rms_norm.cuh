// RMSNorm: x * rstd, rstd = 1 / sqrt(mean(x^2) + eps).
// Parameters: eps, 1 / channels.
#pragma once

#include "rows.cuh"
#include "statistics.cuh"

struct RmsNorm {
    struct Measure {
        float squares;
    };
    float rstd;

    MEMBER explicit RmsNorm(float rstd) : rstd(rstd) {}
    template <class Row> MEMBER static Measure measure(Row& row, Group& group, u32) {
        Chains squares;
        row.each([&](u32 i, float x) { squares.add_square(i, x); });
        float sum[1] = {squares.total()};
        group.sum(sum);
        return {sum[0]};
    }
    MEMBER static void merge(Measure& into, float, const Measure& more, float) {
        into.squares += more.squares;
    }
    MEMBER static Measure known(const Statistics& row) { return {row.m2}; }
    MEMBER static Statistics statistics(const Measure& row, float channels) {
        return {channels, 0.0f, 0.0f, row.squares};
    }
    template <class Arguments>
    MEMBER RmsNorm(const Measure& row, float per_channel, const Arguments& args)
        : rstd(rsqrt_exact(multiply_add(row.squares, per_channel, args.parameter[0]))) {}
    MEMBER float operator()(float x) const { return x * rstd; }
};
