// The reference: every code's number by its definition, in double; neighbours by search.
#include "ps/table/value_codec.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "common/math/rng.h"

namespace cairn::ps {
namespace {

constexpr std::uint64_t kStream = 42;

std::vector<Isa> Isas() {
  std::vector<Isa> isas = {Isa::kBaseline};
  if (BestIsa() != Isa::kBaseline) isas.push_back(Isa::kAvx2);
  if (BestIsa() == Isa::kAvx512) isas.push_back(Isa::kAvx512);
  return isas;
}

struct Format {
  Float16Type type;
  int fraction_bits;
  int bias;
};
constexpr Format kBFloat16{Float16Type::kBFloat16, 7, 127};
constexpr Format kFloat16{Float16Type::kFloat16, 10, 15};

class ValueCodecTest : public testing::TestWithParam<Format> {
 protected:
  double NumberOf(std::uint16_t code) const {
    const int fraction = code & ((1 << f_.fraction_bits) - 1);
    const int exponent = (code & 0x7fff) >> f_.fraction_bits;
    const double sign = (code & 0x8000) != 0 ? -1 : 1;
    if (exponent == (0x7fff >> f_.fraction_bits)) {
      return fraction == 0 ? sign * std::numeric_limits<double>::infinity() : std::nan("");
    }
    const int leading = exponent == 0 ? 0 : 1 << f_.fraction_bits;
    return sign *
           std::ldexp(leading + fraction, std::max(exponent, 1) - f_.bias - f_.fraction_bits);
  }
  // The codes that are numbers, in the order of the numbers; 0 and no -0.
  std::vector<std::uint16_t> FiniteCodes() const {
    std::vector<std::uint16_t> codes;
    for (std::uint32_t code = 0; code < 65536; ++code) {
      if (code != 0x8000 && std::isfinite(NumberOf(static_cast<std::uint16_t>(code)))) {
        codes.push_back(static_cast<std::uint16_t>(code));
      }
    }
    std::ranges::sort(codes, {}, [this](std::uint16_t code) { return NumberOf(code); });
    return codes;
  }
  double LargestNumber() const {
    return (2 - std::ldexp(1.0, -f_.fraction_bits)) * std::ldexp(1.0, f_.bias);
  }
  ValueCodec Codec() const { return ValueCodec(f_.type, kStream); }
  double Decoded(std::uint16_t code) const {
    float out;
    Codec().Decode(&code, 1, &out);
    return out;
  }
  std::vector<std::uint16_t> Encoded(const std::vector<float>& in, std::uint64_t key,
                                     std::uint64_t push) const {
    std::vector<std::uint16_t> out(in.size());
    Codec().Encode(in.data(), in.size(), out.data(), key, push);
    return out;
  }

  const Format f_ = GetParam();
};

TEST_P(ValueCodecTest, EveryCodeIsTheNumberThatItsBitsDefine) {
  std::vector<std::uint16_t> codes(65536);
  for (std::uint32_t i = 0; i < 65536; ++i) codes[i] = static_cast<std::uint16_t>(i);
  std::vector<float> out(codes.size());
  for (const Isa isa : Isas()) {
    ValueCodec(f_.type, kStream, isa).Decode(codes.data(), codes.size(), out.data());
    for (std::uint32_t i = 0; i < 65536; ++i) {
      const double number = NumberOf(codes[i]);
      if (std::isnan(number)) {
        EXPECT_TRUE(std::isnan(out[i])) << i;
      } else {
        EXPECT_EQ(static_cast<double>(out[i]), number) << i;
        EXPECT_EQ(std::signbit(out[i]), i >= 0x8000) << i;
      }
    }
  }
}

TEST_P(ValueCodecTest, NumbersOfTheTypeStayAsTheyAre) {
  std::vector<std::uint16_t> codes;
  std::vector<float> numbers;
  for (std::uint32_t code = 0; code < 65536; ++code) {
    const double number = NumberOf(static_cast<std::uint16_t>(code));
    if (std::isnan(number)) continue;
    codes.push_back(static_cast<std::uint16_t>(code));
    numbers.push_back(static_cast<float>(number));
  }
  for (std::uint64_t push = 0; push < 20; ++push) EXPECT_EQ(Encoded(numbers, 1, push), codes);
}

TEST_P(ValueCodecTest, OnlyTheTwoNeighboursComeOut) {
  const auto codes = FiniteCodes();
  Rng rng(1, 0);
  std::vector<float> in(100'000);
  for (float& x : in) {
    do x = std::bit_cast<float>(rng.NextU32());  // all magnitudes alike
    while (!std::isfinite(x) || std::abs(static_cast<double>(x)) > LargestNumber());
  }
  const auto out = Encoded(in, 2, 3);
  for (std::size_t i = 0; i < in.size(); ++i) {
    const double x = in[i];
    const auto upper =
        std::ranges::lower_bound(codes, x, {}, [this](std::uint16_t c) { return NumberOf(c); });
    ASSERT_NE(upper, codes.end());
    const double high = NumberOf(*upper);
    const double low = high == x ? x : NumberOf(*(upper - 1));
    const double got = NumberOf(out[i]);
    EXPECT_TRUE(got == high || got == low) << x << " became " << got << ", code " << out[i];
    EXPECT_EQ(std::signbit(got), std::signbit(x)) << x << " became " << got;
  }
}

// Shares of the upper neighbour, over many pushes, for places between the codes of every exponent.
TEST_P(ValueCodecTest, RoundingKeepsTheMean) {
  const auto codes = FiniteCodes();
  Rng rng(4, 0);
  std::vector<float> in;
  std::vector<double> low, gap;
  for (std::size_t i = 1; i + 1 < codes.size(); i += 97) {
    const double a = NumberOf(codes[i]), b = NumberOf(codes[i + 1]);
    const auto x = static_cast<float>(a + rng.NextDouble() * (b - a));
    in.push_back(x);
    low.push_back(a);
    gap.push_back(b - a);
  }
  constexpr int kPushes = 4'000;
  std::vector<double> ups(in.size());
  for (std::uint64_t push = 0; push < kPushes; ++push) {
    const auto out = Encoded(in, 5, push);
    for (std::size_t i = 0; i < in.size(); ++i) ups[i] += NumberOf(out[i]) > low[i] ? 1 : 0;
  }
  double chi_square = 0;
  for (std::size_t i = 0; i < in.size(); ++i) {
    const double p = (static_cast<double>(in[i]) - low[i]) / gap[i];
    const double sigma = std::sqrt(kPushes * p * (1 - p)) + 1e-9;
    EXPECT_NEAR(ups[i], kPushes * p, 5.5 * sigma + 1) << in[i];
    if (p > 0.01 && p < 0.99) chi_square += std::pow((ups[i] - kPushes * p) / sigma, 2) - 1;
  }
  EXPECT_LT(std::abs(chi_square), 6 * std::sqrt(2.0 * static_cast<double>(in.size())));
}

// Steps far smaller than the spacing are not lost.
TEST_P(ValueCodecTest, ManySmallStepsAddUp) {
  constexpr std::size_t kValues = 1000;
  std::vector<float> values(kValues, 1.0f);
  const float step = std::ldexp(1.0f, -f_.fraction_bits - 5);
  for (std::uint64_t push = 0; push < 320; ++push) {
    for (float& x : values) x += step;
    Codec().Decode(Encoded(values, 6, push).data(), kValues, values.data());
  }
  double sum = 0;
  for (const float x : values) sum += x - 1.0;
  const double expected = 320.0 * step;                      // ten spacings
  const double sigma = std::sqrt(320.0 / 32) * 32.0 * step;  // of one value: 320 lots of 1 in 32
  EXPECT_NEAR(sum / kValues, expected, 5 * sigma / std::sqrt(kValues));
}

TEST_P(ValueCodecTest, LargeNumbersStayFinite) {
  const auto largest = static_cast<float>(LargestNumber());
  std::vector<float> in(500, std::nextafter(largest, std::numeric_limits<float>::infinity()));
  in.resize(1000, std::numeric_limits<float>::max());
  in.resize(1500, -std::numeric_limits<float>::max());
  in.resize(2000, std::nextafter(largest, 0.0f));
  const auto out = Encoded(in, 7, 8);
  for (std::size_t i = 0; i < 1500; ++i) {
    EXPECT_EQ(Decoded(out[i]), i < 1000 ? LargestNumber() : -LargestNumber());
  }
  for (std::size_t i = 1500; i < 2000; ++i) EXPECT_TRUE(std::isfinite(Decoded(out[i])));
}

TEST_P(ValueCodecTest, WhatIsNoNumberDoesNotBecomeOne) {
  for (const std::uint32_t payload : {0x7fc00000u, 0x7f800001u, 0x7fffffffu, 0x7f80ffffu}) {
    for (const std::uint32_t sign : {0u, 0x80000000u}) {
      const std::vector<float> in(200, std::bit_cast<float>(payload | sign));
      for (const std::uint16_t code : Encoded(in, 9, payload)) {
        EXPECT_TRUE(std::isnan(Decoded(code))) << code;
      }
    }
  }
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(Decoded(Encoded({infinity}, 9, 0)[0]), infinity);
  EXPECT_EQ(Decoded(Encoded({-infinity}, 9, 0)[0]), -infinity);
}

TEST_P(ValueCodecTest, EveryInstructionSetGivesTheSameBits) {
  Rng rng(10, 0);
  const ValueCodec reference(f_.type, kStream, Isa::kBaseline);
  for (std::size_t dim = 1; dim <= 130; ++dim) {
    std::vector<float> in(dim), decoded(dim), expected_decoded(dim);
    for (float& x : in) x = std::bit_cast<float>(rng.NextU32());
    // One more, which nobody may write.
    std::vector<std::uint16_t> out(dim + 1, 7), expected(dim + 1, 7);
    reference.Encode(in.data(), dim, expected.data(), dim, 11);
    reference.Decode(expected.data(), dim, expected_decoded.data());
    EXPECT_EQ(expected[dim], 7);
    for (const Isa isa : Isas()) {
      const ValueCodec codec(f_.type, kStream, isa);
      codec.Encode(in.data(), dim, out.data(), dim, 11);
      EXPECT_EQ(out, expected) << "dim " << dim;
      codec.Decode(out.data(), dim, decoded.data());
      for (std::size_t i = 0; i < dim; ++i) {
        EXPECT_EQ(std::bit_cast<std::uint32_t>(decoded[i]),
                  std::bit_cast<std::uint32_t>(expected_decoded[i]));
      }
    }
  }
}

// A float half way between two codes is a coin. Coins of neighbours in each direction, and of
// different streams, agree half of the time.
TEST_P(ValueCodecTest, LotsAreIndependent) {
  constexpr std::size_t kDim = 64, kRows = 400;
  const auto half_way = static_cast<float>(1 + std::ldexp(0.5, -f_.fraction_bits));
  const std::vector<float> in(kDim, half_way);
  const auto coins = [&](std::uint64_t stream, std::uint64_t key_step, std::uint64_t push_step,
                         std::size_t shift) {
    std::vector<int> sides;
    std::vector<std::uint16_t> out(kDim);
    for (std::uint64_t row = 0; row < kRows; ++row) {
      ValueCodec(f_.type, stream)
          .Encode(in.data(), kDim, out.data(), 1000 + row + key_step, 2000 + 3 * row + push_step);
      for (std::size_t i = 0; i < kDim; ++i) sides.push_back(Decoded(out[(i + shift) % kDim]) > 1);
    }
    return sides;
  };
  const auto base = coins(kStream, 0, 0, 0);
  constexpr double kN = kDim * kRows;
  const double sigma = std::sqrt(kN) / 2;
  EXPECT_NEAR(std::count(base.begin(), base.end(), 1), kN / 2, 5 * sigma);
  EXPECT_EQ(coins(kStream, 0, 0, 0), base);
  for (const auto& other :
       {coins(kStream, 0, 0, 1), coins(kStream, 0, 0, 16), coins(kStream, 1, 0, 0),
        coins(kStream, 0, 1, 0), coins(kStream, 1, 3, 0), coins(kStream + 1, 0, 0, 0),
        coins(RoundingStream(1, 2), 0, 0, 0)}) {
    double equal = 0;
    for (std::size_t i = 0; i < base.size(); ++i) equal += base[i] == other[i] ? 1 : 0;
    EXPECT_NEAR(equal, kN / 2, 5 * sigma);
  }
}

INSTANTIATE_TEST_SUITE_P(Types, ValueCodecTest, testing::Values(kBFloat16, kFloat16),
                         [](const auto& type) {
                           return type.param.type == Float16Type::kBFloat16 ? "BFloat16"
                                                                            : "Float16";
                         });

// 2^-24 is the smallest number above 0.
TEST(ValueCodec, NumbersBelowTheSmallestOneKeepTheirMeanInFloat16) {
  const ValueCodec codec(Float16Type::kFloat16, kStream);
  constexpr std::size_t kDim = 4096;
  constexpr int kPushes = 200;
  for (const int exponent : {-25, -28, -32, -35}) {
    const std::vector<float> in(kDim, std::ldexp(1.5f, exponent));
    std::vector<std::uint16_t> out(kDim);
    double ups = 0;
    for (std::uint64_t push = 0; push < kPushes; ++push) {
      codec.Encode(in.data(), kDim, out.data(), 12, push);
      for (const std::uint16_t code : out) ups += code;
    }
    const double p = std::ldexp(1.5, exponent + 24), n = 1.0 * kDim * kPushes;
    EXPECT_NEAR(ups, n * p, 5 * std::sqrt(n * p * (1 - p))) << exponent;
  }
}

TEST(ValueCodec, StreamsOfTablesAndSeedsDiffer) {
  EXPECT_NE(RoundingStream(1, 2), RoundingStream(2, 2));
  EXPECT_NE(RoundingStream(1, 2), RoundingStream(1, 3));
  EXPECT_NE(RoundingStream(1, 2), RoundingStream(2, 1));
}

}  // namespace
}  // namespace cairn::ps
