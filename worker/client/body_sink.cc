#include "worker/client/body_sink.h"

#include <glog/logging.h>

#include <algorithm>
#include <cstring>

namespace cairn::worker {
namespace {

// memcpy of a length known to the compiler for the common widths.
void CopyRow(std::byte* to, const std::byte* from, std::size_t bytes) {
  if (bytes == 64) {
    std::memcpy(to, from, 64);
  } else {
    std::memcpy(to, from, bytes);
  }
}

}  // namespace

void BodySink::AddRun(std::span<float> floats) {
  if (floats.empty()) return;
  segments_.push_back(
      {reinterpret_cast<std::byte*>(floats.data()), nullptr, 1, floats.size_bytes()});
  total_ += floats.size_bytes();
}

void BodySink::AddRows(float* base, std::span<const std::uint32_t> positions, std::uint32_t dim) {
  if (positions.empty()) return;
  segments_.push_back({reinterpret_cast<std::byte*>(base), positions.data(), positions.size(),
                       dim * sizeof(float)});
  total_ += positions.size() * dim * sizeof(float);
}

void BodySink::Write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    CHECK_LT(segment_, segments_.size()) << "bytes beyond the end of the reply";
    const Segment& to = segments_[segment_];
    if (to.positions != nullptr && row_offset_ == 0 && bytes.size() >= to.row_bytes) {
      const std::size_t rows = std::min(bytes.size() / to.row_bytes, to.rows - row_);
      const std::uint32_t* positions = to.positions + row_;
      for (std::size_t i = 0; i < rows; ++i) {
        CopyRow(to.base + positions[i] * to.row_bytes, bytes.data() + i * to.row_bytes,
                to.row_bytes);
      }
      bytes = bytes.subspan(rows * to.row_bytes);
      row_ += rows;
    } else {
      const std::size_t at = to.positions == nullptr ? 0 : to.positions[row_] * to.row_bytes;
      const std::size_t count = std::min(bytes.size(), to.row_bytes - row_offset_);
      std::memcpy(to.base + at + row_offset_, bytes.data(), count);
      bytes = bytes.subspan(count);
      row_offset_ += count;
      if (row_offset_ == to.row_bytes) {
        row_offset_ = 0;
        ++row_;
      }
    }
    if (row_ == to.rows) {
      row_ = 0;
      ++segment_;
    }
  }
}

void BodySink::Rewind() {
  segment_ = 0;
  row_ = 0;
  row_offset_ = 0;
}

}  // namespace cairn::worker
