// Packs arrays with life times into one address range.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

namespace cairn::worker::nn {

struct Lifetime {
  std::size_t size = 0;
  int first = 0;  // first and last moment of use, both included
  int last = 0;
  std::size_t offset = 0;  // result
};

// Sets the offsets, so that arrays in use at the same moment do not overlap: larger ones first,
// each at the lowest free offset. Returns the size of the range.
inline std::size_t PlaceLifetimes(std::vector<Lifetime>& arrays) {
  std::vector<std::size_t> order(arrays.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return arrays[a].size > arrays[b].size; });
  std::vector<std::size_t> placed;  // by offset
  std::size_t end = 0;
  for (std::size_t i : order) {
    Lifetime& array = arrays[i];
    array.offset = 0;
    for (std::size_t j : placed) {
      const Lifetime& other = arrays[j];
      if (other.last < array.first || array.last < other.first) continue;
      if (array.offset + array.size <= other.offset) break;
      array.offset = std::max(array.offset, other.offset + other.size);
    }
    end = std::max(end, array.offset + array.size);
    placed.insert(std::upper_bound(placed.begin(), placed.end(), i,
                                   [&](std::size_t a, std::size_t b) {
                                     return arrays[a].offset < arrays[b].offset;
                                   }),
                  i);
  }
  return end;
}

}  // namespace cairn::worker::nn
