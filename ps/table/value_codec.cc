#include "ps/table/value_codec.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "common/math/hash.h"

namespace cairn::ps {
namespace {

constexpr std::uint32_t kInfinity = 0x7f800000u;  // of float, without the sign
constexpr std::uint32_t kSign = 0x80000000u;

// 32 random bits for float i of a row: the finaliser "lowbias32" (Wellons 2018) over a counter that
// starts anywhere, with the other half of the row's number between its rounds.
CAIRN_KERNEL_BODY std::uint32_t RandomBits(std::uint64_t row, std::uint32_t i) {
  std::uint32_t x = static_cast<std::uint32_t>(row) + i * 0x9e3779b9u;
  x ^= x >> 16;
  x *= 0x7feb352du;
  x ^= (x >> 15) ^ static_cast<std::uint32_t>(row >> 32);
  x *= 0x846ca68bu;
  return x ^ (x >> 16);
}

// The 16 low bits are the way to the next code in magnitude, in steps of 2^-16.
struct ToBFloat16 {
  std::uint64_t row;
  CAIRN_KERNEL_BODY std::uint16_t operator()(float value, std::uint32_t i) const {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t magnitude = bits & ~kSign;
    const std::uint32_t random = RandomBits(row, i) >> 16;
    std::uint32_t code = std::min((magnitude + random) >> 16, 0x7f7fu);
    code = magnitude == kInfinity ? 0x7f80u : code;
    code = magnitude > kInfinity ? 0x7fc0u : code;
    return static_cast<std::uint16_t>(code | (bits & kSign) >> 16);
  }
};

// `steps` is the code with `drop` bits of the way to the next one behind it. With drop = 13 it is
// the float's magnitude with the exponent's bias changed. Below the smallest normal number, 2^-14,
// the codes are evenly spaced, and it is the fraction with its leading one, drop larger by one for
// each halving; where drop would exceed 31, the lowest bits are cut off.
struct ToFloat16 {
  std::uint64_t row;
  CAIRN_KERNEL_BODY std::uint16_t operator()(float value, std::uint32_t i) const {
    const auto bits = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t magnitude = bits & ~kSign;
    const auto exponent = static_cast<std::int32_t>(magnitude >> 23);
    const std::int32_t wanted = std::max(126 - exponent, 13);
    const auto drop = static_cast<std::uint32_t>(std::min(wanted, 31));
    const auto cut = static_cast<std::uint32_t>(std::min(wanted, 62)) - drop;
    const std::uint32_t normal = magnitude - (112u << 23);
    const std::uint32_t subnormal = (magnitude & 0x7fffffu) | 0x800000u;
    const std::uint32_t steps = (exponent < 113 ? subnormal : normal) >> cut;
    const std::uint32_t random = RandomBits(row, i) >> (32 - drop);
    std::uint32_t code = std::min((steps + random) >> drop, 0x7bffu);
    code = magnitude == kInfinity ? 0x7c00u : code;
    code = magnitude > kInfinity ? 0x7e00u : code;
    return static_cast<std::uint16_t>(code | (bits & kSign) >> 16);
  }
};

struct FromBFloat16 {
  CAIRN_KERNEL_BODY float operator()(std::uint16_t code, std::uint32_t) const {
    return std::bit_cast<float>(static_cast<std::uint32_t>(code) << 16);
  }
};

// Subnormal codes are put behind 2^-14's leading one, which is then taken off: no denormal float
// takes part (Giesen 2012).
struct FromFloat16 {
  CAIRN_KERNEL_BODY float operator()(std::uint16_t half, std::uint32_t) const {
    const std::uint32_t code = half;
    const std::uint32_t shifted = (code & 0x7fffu) << 13;
    const std::uint32_t normal = shifted + (112u << 23);
    const float subnormal = std::bit_cast<float>(shifted + (113u << 23)) - 0x1p-14f;
    std::uint32_t magnitude = shifted < 1u << 23 ? std::bit_cast<std::uint32_t>(subnormal) : normal;
    magnitude = shifted >= 31u << 23 ? normal + (112u << 23) : magnitude;
    return std::bit_cast<float>(magnitude | (code & 0x8000u) << 16);
  }
};

// Blocks of 16, the last one filled up, so that rows of any width are worked off by vectors.
template <typename Convert, typename In, typename Out>
CAIRN_KERNEL_BODY void ConvertRow(Convert convert, const In* __restrict in, std::size_t n,
                                  Out* __restrict out) {
  constexpr std::size_t kBlock = 16;
  const std::size_t whole = n / kBlock * kBlock;
  for (std::size_t i = 0; i < whole; ++i) out[i] = convert(in[i], static_cast<std::uint32_t>(i));
  if (whole == n) return;
  In from[kBlock] = {};
  Out to[kBlock];
  std::memcpy(from, in + whole, (n - whole) * sizeof(In));
  for (std::size_t i = 0; i < kBlock; ++i) {
    to[i] = convert(from[i], static_cast<std::uint32_t>(whole + i));
  }
  std::memcpy(out + whole, to, (n - whole) * sizeof(Out));
}

CAIRN_DEFINE_KERNEL(EncodeBFloat16, ConvertRow,
                    (const float* in, std::size_t n, std::uint16_t* out, std::uint64_t row),
                    (ToBFloat16{row}, in, n, out))
CAIRN_DEFINE_KERNEL(EncodeFloat16, ConvertRow,
                    (const float* in, std::size_t n, std::uint16_t* out, std::uint64_t row),
                    (ToFloat16{row}, in, n, out))
CAIRN_DEFINE_KERNEL(DecodeBFloat16, ConvertRow,
                    (const std::uint16_t* in, std::size_t n, float* out),
                    (FromBFloat16{}, in, n, out))
CAIRN_DEFINE_KERNEL(DecodeFloat16, ConvertRow, (const std::uint16_t* in, std::size_t n, float* out),
                    (FromFloat16{}, in, n, out))

}  // namespace

std::uint64_t RoundingStream(std::uint64_t seed, std::uint64_t table_salt) {
  return Mix64(Mix64(seed + 0x9e3779b97f4a7c15ull) ^ table_salt ^ 0x726f756e64ull);
}

ValueCodec::ValueCodec(Float16Type type, std::uint64_t stream, Isa isa)
    : stream_(stream),
      decode_(type == Float16Type::kBFloat16 ? CAIRN_PICK_KERNEL(isa, DecodeBFloat16)
                                             : CAIRN_PICK_KERNEL(isa, DecodeFloat16)),
      encode_(type == Float16Type::kBFloat16 ? CAIRN_PICK_KERNEL(isa, EncodeBFloat16)
                                             : CAIRN_PICK_KERNEL(isa, EncodeFloat16)) {}

void ValueCodec::Encode(const float* in, std::size_t dim, std::uint16_t* out, std::uint64_t key,
                        std::uint64_t push) const {
  encode_(in, dim, out, Mix64(Mix64(key ^ stream_) + push * 0x9e3779b97f4a7c15ull));
}

}  // namespace cairn::ps
