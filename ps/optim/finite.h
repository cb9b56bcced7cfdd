// Vectorised search for values that are not finite.
#pragma once

#include <cstddef>
#include <optional>
#include <span>

namespace cairn::ps {

// Index of the first infinity or NaN.
std::optional<std::size_t> FirstNonFinite(std::span<const float> values);

}  // namespace cairn::ps
