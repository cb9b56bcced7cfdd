// A parameter server's core for tests of what lies around it: std::map of rows, plain SGD, the
// contract of ps/server/ps_core.h as to checks and exactly-once. Records the calls.
// Thread-safety: every method may be called from any thread.
#pragma once

#include <cmath>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <mutex>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "common/math/hash.h"
#include "proto/ps_service.pb.h"
#include "ps/server/ps_core.h"

namespace cairn::testing {

class FakePsCore final : public ps::PsCore {
 public:
  static constexpr float kLearningRate = 0.5f;
  static constexpr std::uint64_t kChunkFloats = 16384;

  FakePsCore(std::vector<std::uint32_t> dims, std::uint32_t ps, std::uint32_t ps_count,
             int slot_bits)
      : dims_(std::move(dims)), ps_(ps), ps_count_(ps_count), slot_bits_(slot_bits) {}

  // Value `i` of a row that was never pushed.
  static float InitialValue(std::uint32_t table, std::uint64_t key, std::uint32_t i) {
    return static_cast<float>(Mix64(key * 31 + table * 7 + i) % 1000) / 1000.0f;
  }

  bool Owns(std::uint64_t key) const override {
    const std::uint64_t slots = std::uint64_t{1} << slot_bits_;
    const std::uint64_t slot = SlotOf(key, slot_bits_);
    return slot >= ps_ * slots / ps_count_ && slot < (ps_ + 1) * slots / ps_count_;
  }

  Status Pull(std::span<const ps::RowsRead> tables, ps::AbsentRow absent) override {
    std::unique_lock lock(mu_);
    changed_.wait(lock, [this] { return !hold_pulls_; });
    calls_.push_back("pull");
    ++pulls_;
    for (const auto& read : tables) {
      if (Status status = Check(read.table, read.keys); !status.ok()) return status;
    }
    for (const auto& read : tables) {
      const std::uint32_t dim = dims_[read.table];
      for (std::size_t k = 0; k < read.keys.size(); ++k) {
        const auto row = rows_.find({read.table, read.keys[k]});
        for (std::uint32_t i = 0; i < dim; ++i) {
          float& out = read.values[k * dim + i];
          if (row != rows_.end()) {
            out = row->second[i];
          } else {
            out = absent == ps::AbsentRow::kZero ? 0 : InitialValue(read.table, read.keys[k], i);
          }
        }
      }
    }
    return OkStatus();
  }

  Status Push(std::span<const ps::RowsUpdate> tables, std::span<const ps::DenseChunkUpdate> dense,
              ps::PushId id, double learning_rate_scale) override {
    std::unique_lock lock(mu_);
    changed_.wait(lock, [this] { return !hold_pushes_; });
    if (is_broken_) {
      ++met_broken_;
      return absl::UnavailableError("the log is gone");
    }
    calls_.push_back("push " + std::to_string(id.sequence));
    for (const auto& update : tables) {
      if (Status status = Check(update.table, update.keys); !status.ok()) return status;
      const std::size_t floats = update.keys.size() * dims_[update.table];
      for (std::size_t i = 0; i < floats; ++i) {
        if (!std::isfinite(update.gradients[i])) {
          return absl::InvalidArgumentError(StrCat("non-finite gradient of table ", update.table,
                                                   ", key ", update.keys[i / dims_[update.table]]));
        }
      }
    }
    std::uint64_t& last = sequences_[id.client];
    if (id.client != 0) {
      if (id.sequence <= last) {
        ++duplicates_;
        return OkStatus();
      }
      if (id.sequence != last + 1) {
        return absl::FailedPreconditionError(
            StrCat("push ", id.sequence, " after ", last, " of one client"));
      }
      last = id.sequence;
    }
    ++pushes_;
    const auto rate = static_cast<float>(kLearningRate * learning_rate_scale);
    for (const auto& update : tables) {
      const std::uint32_t dim = dims_[update.table];
      for (std::size_t k = 0; k < update.keys.size(); ++k) {
        std::vector<float>& row = RowOf(update.table, update.keys[k]);
        for (std::uint32_t i = 0; i < dim; ++i) row[i] -= rate * update.gradients[k * dim + i];
      }
    }
    for (const auto& chunk : dense) {
      std::vector<float>& values = dense_[{chunk.tensor, chunk.chunk}];
      for (std::size_t i = 0; i < chunk.gradient.size(); ++i) values[i] -= rate * chunk.gradient[i];
    }
    return OkStatus();
  }

  Status RegisterDense(std::span<const ps::DenseTensorSpec> layout) override {
    std::unique_lock lock(mu_);
    calls_.push_back("register");
    std::vector<std::pair<std::string, std::vector<std::uint32_t>>> names;
    for (const auto& tensor : layout) names.emplace_back(tensor.name, tensor.dims);
    if (!layout_.empty() && layout_ != names) {
      return absl::FailedPreconditionError("another dense layout is registered");
    }
    layout_ = std::move(names);
    return OkStatus();
  }

  Status InitDense(std::span<const ps::DenseChunkUpdate> chunks) override {
    std::unique_lock lock(mu_);
    calls_.push_back("init");
    for (const auto& chunk : chunks) {
      dense_.try_emplace({chunk.tensor, chunk.chunk}, chunk.gradient.begin(), chunk.gradient.end());
    }
    return OkStatus();
  }

  Status PullDense(std::span<const ps::DenseChunkRead> chunks) override {
    std::unique_lock lock(mu_);
    for (const auto& chunk : chunks) {
      const auto found = dense_.find({chunk.tensor, chunk.chunk});
      if (found == dense_.end()) return absl::NotFoundError("dense chunk without values");
      std::copy(found->second.begin(), found->second.end(), chunk.values.begin());
    }
    return OkStatus();
  }

  std::vector<std::pair<std::uint32_t, std::uint32_t>> OwnedDenseChunks() const override {
    std::unique_lock lock(mu_);
    std::vector<std::pair<std::uint32_t, std::uint32_t>> owned;
    for (std::uint32_t t = 0; t < layout_.size(); ++t) {
      std::uint64_t floats = 1;
      for (const std::uint32_t dim : layout_[t].second) floats *= dim;
      for (std::uint32_t c = 0; c * kChunkFloats < floats; ++c) {
        if (Owns(DenseChunkKey(layout_[t].first, c))) owned.emplace_back(t, c);
      }
    }
    return owned;
  }

  Status Snapshot(const std::string& folder, proto::SnapshotReply* reply) override {
    std::unique_lock lock(mu_);
    calls_.push_back("snapshot " + folder);
    auto* file = reply->add_file();
    file->set_path("000001.sst");
    file->set_bytes(rows_.size());
    return OkStatus();
  }
  Status Restore(const std::string& checkpoint, proto::RestoreReply* reply) override {
    std::unique_lock lock(mu_);
    calls_.push_back("restore " + checkpoint);
    rows_.clear();
    dense_.clear();
    layout_.clear();
    sequences_.clear();
    reply->set_rows(0);
    return OkStatus();
  }
  Status Recover(proto::RestoreReply*) override {
    return absl::FailedPreconditionError("this server keeps nothing");
  }
  void Stats(proto::PsStatsReply* reply) const override {
    std::unique_lock lock(mu_);
    reply->set_ps(ps_);
    reply->set_pulls(pulls_);
    reply->set_pushes(pushes_);
    reply->set_duplicates(duplicates_);
  }

  // While held, pulls (pushes) wait inside the core.
  // Pushes fail, and the core says that it must be made anew.
  void Break(bool is_broken) {
    std::lock_guard lock(mu_);
    is_broken_ = is_broken;
  }
  int met_broken() const {
    std::lock_guard lock(mu_);
    return met_broken_;
  }
  Status Health() const override {
    std::lock_guard lock(mu_);
    return is_broken_ ? absl::UnavailableError("the log is gone") : OkStatus();
  }
  void HoldPulls(bool hold) {
    std::unique_lock lock(mu_);
    hold_pulls_ = hold;
    changed_.notify_all();
  }
  void HoldPushes(bool hold) {
    std::unique_lock lock(mu_);
    hold_pushes_ = hold;
    changed_.notify_all();
  }

  std::vector<std::string> calls() const {
    std::unique_lock lock(mu_);
    return calls_;
  }
  std::uint64_t pushes() const {
    std::unique_lock lock(mu_);
    return pushes_;
  }
  std::uint64_t duplicates() const {
    std::unique_lock lock(mu_);
    return duplicates_;
  }
  std::size_t rows() const {
    std::unique_lock lock(mu_);
    return rows_.size();
  }

 private:
  Status Check(std::uint32_t table, std::span<const std::uint64_t> keys) const {
    if (table >= dims_.size()) return absl::InvalidArgumentError(StrCat("no table ", table));
    for (const std::uint64_t key : keys) {
      if (!Owns(key)) {
        return absl::InvalidArgumentError(StrCat("key ", key, " is in a slot of another server"));
      }
    }
    return OkStatus();
  }
  std::vector<float>& RowOf(std::uint32_t table, std::uint64_t key) {
    const auto [row, is_new] = rows_.try_emplace({table, key});
    if (is_new) {
      for (std::uint32_t i = 0; i < dims_[table]; ++i) {
        row->second.push_back(InitialValue(table, key, i));
      }
    }
    return row->second;
  }

  const std::vector<std::uint32_t> dims_;
  const std::uint32_t ps_;
  const std::uint32_t ps_count_;
  const int slot_bits_;

  mutable std::mutex mu_;
  std::condition_variable changed_;
  bool is_broken_ = false;
  int met_broken_ = 0;
  bool hold_pulls_ = false;
  bool hold_pushes_ = false;
  std::map<std::pair<std::uint32_t, std::uint64_t>, std::vector<float>> rows_;
  std::map<std::pair<std::uint32_t, std::uint32_t>, std::vector<float>> dense_;
  std::vector<std::pair<std::string, std::vector<std::uint32_t>>> layout_;
  std::map<std::uint64_t, std::uint64_t> sequences_;
  std::uint64_t pulls_ = 0;
  std::uint64_t pushes_ = 0;
  std::uint64_t duplicates_ = 0;
  std::vector<std::string> calls_;
};

}  // namespace cairn::testing
