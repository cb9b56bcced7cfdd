// Random floats for many rows at once, for the initializers.
//
// Float 4*b + i of the row of `key` comes from word i of Philox4x32-10(stream, counter = b, key);
// a normal pair comes from words (0, 1) or (2, 3) by Box and Muller (1958). Part of the checkpoint
// format (the values of rows that were never pushed): never change a function here, add another.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "ps/optim/isa.h"

namespace cairn::ps {

enum class RandomKind { kUniform, kNormal };

// rows[i][j] = scale * x, x uniform in [-1, 1) or standard normal; dim floats for each key.
// The same bits from every instruction set; `isa` must be one that the machine has.
void FillRandomRows(Isa isa, RandomKind kind, float scale, std::uint64_t stream,
                    std::span<const std::uint64_t> keys, std::size_t dim, float* const* rows);

}  // namespace cairn::ps
