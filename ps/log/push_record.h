// One push as bytes: what the server's log (ps/log/push_log.h) keeps of it. The sequence number of
// the log is not in it; the log has it beside each record.
//
//   record  = header  tables * table  chunks * chunk  keys  gradients  values
//   header  = version:u32 = 1  tables:u32  chunks:u32  zero:u32
//             client:u64  sequence:u64  learning_rate_scale:f64           (40 bytes)
//   table   = table:u32  dim:u32  keys:u64                                (16 bytes)
//   chunk   = tensor:u32  chunk:u32  floats:u64                           (16 bytes)
//   keys    = the u64 keys of each table in turn
//   gradients = the [keys, dim] f32 of each table in turn
//   values  = the f32 of each chunk in turn
//
// Little-endian, without padding: keys lie at multiples of 8 bytes, floats at multiples of 4.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "common/base/status.h"
#include "ps/push.h"

namespace cairn::ps {

// A push in pieces that follow each other. Only the head is copied; keys and floats stay the
// caller's, who must keep them unchanged for as long as the pieces are read.
class EncodedPush {
 public:
  // dims[t] = width of the rows of table t; each update's table is one of them, with dim > 0.
  EncodedPush(std::span<const RowsUpdate> tables, std::span<const std::uint32_t> dims,
              std::span<const DenseChunkUpdate> dense, PushId id, double learning_rate_scale);
  EncodedPush(const EncodedPush&) = delete;
  EncodedPush& operator=(const EncodedPush&) = delete;

  std::span<const std::span<const std::byte>> parts() const { return parts_; }

 private:
  std::vector<std::byte> head_;
  std::vector<std::span<const std::byte>> parts_;
};

// Views borrow the bytes that were decoded.
struct PushRecord {
  PushId id;
  double learning_rate_scale = 1;
  std::vector<RowsUpdate> tables;
  std::vector<std::uint32_t> dims;  // dims[i] = width of the rows of tables[i]
  std::vector<DenseChunkUpdate> dense;
};

// `bytes` begin at a multiple of 8 in memory (InvalidArgument otherwise). DataLoss, saying what is
// wrong, for bytes that are no record of this version: every count is checked against the record's
// length before it is used. Whether tables, keys and chunks exist is for the server to check.
Result<PushRecord> DecodePush(std::span<const std::byte> bytes);

}  // namespace cairn::ps
