// Values kept as 16-bit floats: bfloat16 (8 bits of exponent, 7 of fraction) or IEEE binary16
// (5 and 10).
//
// Encoding rounds stochastically: a float between two neighbouring numbers of the type becomes the
// upper one with probability (x - lower) / (upper - lower), else the lower one, so that the mean of
// many roundings is x and steps far smaller than the spacing are not lost (Gupta et al., 2015).
// The probabilities are exact, but for binary16 below 2^-31 in magnitude, where they are too small
// by less than 2^-31.
//   numbers of the type          stay as they are, with the sign of a zero
//   beyond the largest finite    the largest finite: 65504, or 3.39e38
//   infinities, not-a-numbers    stay what they are
//
// The random bits of float i are a function of (stream, key, push, i). Every instruction set gives
// the same bits, whether or not the processor flushes denormal numbers to zero.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ps/optim/isa.h"
#include "ps/table/storage.h"

namespace cairn::ps {

enum class Float16Type { kBFloat16, kFloat16 };
// `storage` is one of the two.
constexpr Float16Type Float16TypeOf(Storage storage) {
  return storage == Storage::kBFloat16 ? Float16Type::kBFloat16 : Float16Type::kFloat16;
}

// Of the rounding of one table: depends on seed and table.
std::uint64_t RoundingStream(std::uint64_t seed, std::uint64_t table_salt);

// Thread-safety: immutable.
class ValueCodec {
 public:
  // `isa` must be one that the machine has.
  ValueCodec(Float16Type type, std::uint64_t stream, Isa isa = BestIsa());

  // out[i] = in[i], exactly. dim codes; in and out do not overlap. A signalling not-a-number may
  // become a quiet one.
  void Decode(const std::uint16_t* in, std::size_t dim, float* out) const { decode_(in, dim, out); }

  // out[i] = in[i], rounded. dim floats, fewer than 2^32; in and out do not overlap. A pair (key,
  // push) serves for one encoding: two with equal pairs round alike, and rounding what was rounded
  // alike is not free of bias.
  void Encode(const float* in, std::size_t dim, std::uint16_t* out, std::uint64_t key,
              std::uint64_t push) const;

 private:
  std::uint64_t stream_;
  void (*decode_)(const std::uint16_t* in, std::size_t dim, float* out);
  void (*encode_)(const float* in, std::size_t dim, std::uint16_t* out, std::uint64_t random);
};

}  // namespace cairn::ps
