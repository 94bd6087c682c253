// The gradients of RMSNorm: with n = x * rstd and df = weight * dy
//
//     dx = rstd (df - n mean(df n)).
//
// Parameters: eps, 1 / channels.
#include "backward_rows.cuh"
#include "rms_norm.cuh"

struct RmsNormSlope {
    static constexpr u32 PARAMETERS = 0, WORDS = 2;
    RmsNorm norm;
    float product; // the mean of df n

    // Both sums are one exchange between the threads.
    template <class Row>
    MEMBER static RmsNormSlope of(Row& row, Group& group, const BackwardArgs& args) {
        Chains squares, products;
        row.each_pair([&](u32 i, float x, float df) {
            squares.add_square(i, x);
            products.add_product(i, x, df);
        });
        float sum[2] = {squares.total(), products.total()};
        group.sum(sum);
        const float per_channel = args.parameter[1];
        const RmsNorm norm({sum[0]}, per_channel, args);
        // Where the squares overflow the function is 0, and so are all of its products.
        return {norm, norm.rstd == 0.0f ? 0.0f : sum[1] * (norm.rstd * per_channel)};
    }
    MEMBER RmsNormSlope(const RmsNorm& norm, float product) : norm(norm), product(product) {}
    MEMBER RmsNormSlope(const BackwardArgs& args, u32 row) : RmsNormSlope(read_statistics<WORDS>(args, row)) {}
    MEMBER explicit RmsNormSlope(const Words<2>& of) : norm(of.word[0]), product(of.word[1]) {}
    MEMBER Words<2> words() const { return {{norm.rstd, product}}; }
    MEMBER Slope at(float x, float df) const {
        const float value = norm(x);
        return {value, norm.rstd * multiply_add(-value, product, df), {}};
    }
};

PAIR_KERNELS(rms_norm, RmsNormSlope)
