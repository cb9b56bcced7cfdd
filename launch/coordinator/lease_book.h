// Hands out the rows of one pass over a data set as leases, in order, each once.
//
// Rows are numbered by position: row r of window w stands at w * window_rows + r. A lease is a
// range of one window. How many rows there are is learned from the workers: a lease may lie beyond
// the data and then completes with nothing. docs/decisions/0001-leases-and-windows.md says why.
// Thread-safety: none; the caller locks.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <vector>

#include "common/base/status.h"

namespace cairn::launch {

struct Lease {
  std::uint64_t id = 0;
  std::uint64_t window = 0;
  std::uint64_t begin = 0;  // rows [begin, end) of the window's visiting order
  std::uint64_t end = 0;
};

class LeaseBook {
 public:
  struct Options {
    std::uint64_t window_rows = 1;
    std::uint64_t lease_rows = 1;
    std::uint64_t start = 0;       // position of the first row to hand out
    std::uint64_t total_rows = 0;  // of the data set; 0: not known
    std::uint64_t first_id = 1;    // ids count up from here
  };
  explicit LeaseBook(const Options& options);

  // The next lease for a worker. Nothing while paused or when all rows are handed out. Leases that
  // were given back come first, also while paused: they lie before position().
  std::optional<Lease> Next(std::uint64_t holder);

  // The lease is done. `window_rows_found`: rows of its window, if the worker saw that the window
  // is the last one (0: it lies beyond the data). NotFound for a lease that is not held by `holder`
  // (it was given back, or is done already): nothing changes. FailedPrecondition when the number of
  // rows contradicts what was known: the files changed.
  Status Complete(std::uint64_t id, std::uint64_t holder,
                  std::optional<std::uint64_t> window_rows_found);

  // The lease of this id, if `holder` has it.
  std::optional<Lease> Find(std::uint64_t id, std::uint64_t holder) const;

  bool Holds(std::uint64_t holder) const;

  // Everything that `holder` has is to be handed out again.
  struct Returned {
    int leases = 0;
    std::uint64_t rows = 0;
  };
  Returned GiveBack(std::uint64_t holder);

  void Pause() { paused_ = true; }
  void Resume() { paused_ = false; }

  // No lease is out and none waits to be handed out again: rows before position() are done, the
  // others untouched.
  bool quiescent() const { return held_.empty() && returned_.empty(); }
  // All rows are done.
  bool done() const { return quiescent() && next_ >= end_; }
  std::uint64_t position() const { return next_; }
  // Rows of the data set; 0 while not known.
  std::uint64_t total_rows() const { return end_ == kUnknown ? 0 : end_; }
  std::uint64_t next_id() const { return next_id_; }
  std::uint64_t window_rows() const { return options_.window_rows; }

 private:
  static constexpr std::uint64_t kUnknown = std::numeric_limits<std::uint64_t>::max();
  struct Held {
    std::uint64_t holder;
    Lease lease;
  };

  Status LearnEnd(std::uint64_t window, std::uint64_t rows_found);
  std::uint64_t Start(const Lease& lease) const {
    return lease.window * options_.window_rows + lease.begin;
  }
  Lease Hold(std::uint64_t holder, Lease lease);

  const Options options_;
  std::uint64_t next_;   // position of the first row never handed out
  std::uint64_t end_;    // rows of the data set, or an upper bound, or kUnknown
  std::uint64_t exact_;  // rows of the data set as told, or kUnknown
  std::uint64_t next_id_;
  bool paused_ = false;
  std::map<std::uint64_t, Held> held_;       // by id
  std::map<std::uint64_t, Lease> returned_;  // by position of the first row
};

}  // namespace cairn::launch
