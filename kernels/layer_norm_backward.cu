// The gradients of LayerNorm: with n = (x - mean) * rstd and df = weight * dy
//
//     dx = rstd (df - mean(df) - n mean(df n)).
//
// Parameters: eps, 1 / channels.
#include "backward_rows.cuh"
#include "layer_norm.cuh"

struct LayerNormSlope {
    static constexpr u32 PARAMETERS = 0, WORDS = 5;
    LayerNorm norm;
    float mean, product; // of df, and of df n

    // The row is measured before anything else: sums of products with what is far from 0 would lose their digits.
    template <class Row>
    MEMBER static LayerNormSlope of(Row& row, Group& group, const BackwardArgs& args) {
        const float per_channel = args.parameter[1];
        const LayerNorm norm(LayerNorm::measure(row, group, args.channels), per_channel, args);
        Chains all, products;
        row.each_pair([&](u32 i, float x, float df) {
            all.add(i, df);
            products.add_product(i, norm(x), df);
        });
        float sum[2] = {all.total(), products.total()};
        group.sum(sum);
        return {norm, sum[0] * per_channel, sum[1] * per_channel};
    }
    MEMBER LayerNormSlope(const LayerNorm& norm, float mean, float product)
        : norm(norm), mean(mean), product(product) {}
    MEMBER LayerNormSlope(const BackwardArgs& args, u32 row)
        : LayerNormSlope(read_statistics<WORDS>(args, row)) {}
    MEMBER explicit LayerNormSlope(const Words<5>& of)
        : norm(of.word[0], of.word[1], of.word[2]), mean(of.word[3]), product(of.word[4]) {}
    MEMBER Words<5> words() const { return {{norm.shift, norm.rstd, norm.bias, mean, product}}; }
    MEMBER Slope at(float x, float df) const {
        const float value = norm(x);
        return {value, norm.rstd * multiply_add(-value, product, df - mean), {}};
    }
};

PAIR_KERNELS(layer_norm, LayerNormSlope)
