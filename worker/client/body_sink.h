// Where the bytes of a reply go: straight into the caller's arrays, in the order in which they
// arrive.
// Thread-safety: none.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace cairn::worker {

class BodySink {
 public:
  // The next floats.size() floats of the body go to `floats`.
  void AddRun(std::span<float> floats);
  // The next positions.size() rows of `dim` floats each: row i goes to base + positions[i] * dim.
  // `positions` is borrowed.
  void AddRows(float* base, std::span<const std::uint32_t> positions, std::uint32_t dim);

  std::uint64_t total_bytes() const { return total_; }

  // Takes the next bytes of the body. At most total_bytes() altogether.
  void Write(std::span<const std::byte> bytes);

  // Starts again at the body's first byte.
  void Rewind();

 private:
  struct Segment {
    std::byte* base;
    const std::uint32_t* positions;  // null: one row, at base
    std::size_t rows;
    std::size_t row_bytes;
  };

  std::vector<Segment> segments_;
  std::uint64_t total_ = 0;
  std::size_t segment_ = 0;
  std::size_t row_ = 0;
  std::size_t row_offset_ = 0;
};

}  // namespace cairn::worker
