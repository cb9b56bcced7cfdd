#include "launch/coordinator/lease_book.h"

#include <algorithm>

#include "glog/logging.h"

namespace cairn::launch {

LeaseBook::LeaseBook(const Options& options)
    : options_(options),
      next_(options.start),
      end_(options.total_rows == 0 ? kUnknown : options.total_rows),
      exact_(end_),
      next_id_(options.first_id) {
  CHECK_GT(options.window_rows, 0u);
  CHECK_GT(options.lease_rows, 0u);
}

std::optional<Lease> LeaseBook::Next(std::uint64_t holder) {
  if (!returned_.empty()) {
    const Lease lease = returned_.begin()->second;
    returned_.erase(returned_.begin());
    return Hold(holder, lease);
  }
  if (paused_ || next_ >= end_) return std::nullopt;
  Lease lease;
  lease.window = next_ / options_.window_rows;
  lease.begin = next_ % options_.window_rows;
  const std::uint64_t in_window =
      std::min(options_.window_rows, end_ - lease.window * options_.window_rows);
  lease.end = std::min(lease.begin + options_.lease_rows, in_window);
  next_ += lease.end - lease.begin;
  return Hold(holder, lease);
}

Lease LeaseBook::Hold(std::uint64_t holder, Lease lease) {
  lease.id = next_id_++;
  held_.emplace(lease.id, Held{holder, lease});
  return lease;
}

std::optional<Lease> LeaseBook::Find(std::uint64_t id, std::uint64_t holder) const {
  const auto found = held_.find(id);
  if (found == held_.end() || found->second.holder != holder) return std::nullopt;
  return found->second.lease;
}

Status LeaseBook::Complete(std::uint64_t id, std::uint64_t holder,
                           std::optional<std::uint64_t> window_rows_found) {
  const std::optional<Lease> lease = Find(id, holder);
  if (!lease) return absl::NotFoundError(StrCat("no lease ", id, " is held by ", holder));
  held_.erase(id);
  if (!window_rows_found) return OkStatus();
  return LearnEnd(lease->window, *window_rows_found);
}

// A window with rows that is the last one tells the number of rows; an empty one only bounds it,
// and the bound is exact once every window before it is done without a report.
Status LeaseBook::LearnEnd(std::uint64_t window, std::uint64_t rows_found) {
  if (rows_found > options_.window_rows) {
    return absl::InvalidArgumentError(
        StrCat("a window of ", options_.window_rows, " rows is said to hold ", rows_found));
  }
  const std::uint64_t rows = window * options_.window_rows + rows_found;
  const bool is_exact = rows_found > 0 || window == 0;
  if (exact_ != kUnknown && (is_exact ? rows != exact_ : rows < exact_)) {
    return absl::FailedPreconditionError(
        StrCat("the data changed while it was used: it had ", exact_, " rows, now it has ", rows));
  }
  if (is_exact) exact_ = rows;
  end_ = std::min(end_, rows);
  next_ = std::min(next_, end_);
  std::erase_if(returned_, [this](const auto& entry) { return entry.first >= end_; });
  return OkStatus();
}

bool LeaseBook::Holds(std::uint64_t holder) const {
  return std::ranges::any_of(held_,
                             [holder](const auto& entry) { return entry.second.holder == holder; });
}

LeaseBook::Returned LeaseBook::GiveBack(std::uint64_t holder) {
  Returned all;
  for (auto it = held_.begin(); it != held_.end();) {
    if (it->second.holder != holder) {
      ++it;
      continue;
    }
    const Lease& lease = it->second.lease;
    if (Start(lease) < end_) {
      returned_.emplace(Start(lease), lease);
      all.rows += std::min(lease.end - lease.begin, end_ - Start(lease));
    }
    it = held_.erase(it);
    ++all.leases;
  }
  return all;
}

}  // namespace cairn::launch
