// What the script has the servers do: restore, snapshot and tell.
#include <chrono>
#include <thread>

#include "common/io/file.h"
#include "glog/logging.h"
#include "launch/coordinator/checkpoint_writer.h"
#include "launch/coordinator/checkpoints.h"
#include "launch/coordinator/coordinator_impl.h"
#include "proto/ps_service.pb.h"

namespace cairn::launch {
namespace {

// Between tries of what servers are asked to do, when one of them goes away and comes back. Each
// try waits for the servers to answer.
constexpr std::chrono::milliseconds kPause{500};

std::int64_t UnixSeconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

}  // namespace

// Calls `call(index, admin)` for all servers at once; the first error by index.
template <typename Call>
Status CoordinatorImpl::OnAllServers(Call call) {
  std::vector<PsAdmin*> admins;
  {
    MutexLock lock(mu_);
    for (const Server& server : servers_) admins.push_back(server.admin);
  }
  std::vector<Status> results(admins.size());
  std::vector<std::thread> threads;
  for (std::size_t i = 1; i < admins.size(); ++i) {
    threads.emplace_back([&, i] { results[i] = call(i, *admins[i]); });
  }
  results[0] = call(0, *admins[0]);
  for (std::thread& thread : threads) thread.join();
  for (std::size_t i = 0; i < results.size(); ++i) {
    RETURN_IF_ERROR(results[i], "ps ", i, " (", admins[i]->address(), ")");
  }
  return OkStatus();
}

bool CoordinatorImpl::ServersRecover() const {
  return !options_.ps.empty() ? false : job_.server().durability() != proto::ServerConfig::NONE;
}

template <typename Attempt>
Status CoordinatorImpl::Persist(const std::string& what, Attempt attempt) {
  for (const double began = Now();;) {
    const Status status = attempt();
    const bool may_pass = absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status);
    if (!may_pass || !options_.ps.empty() || Now() - began > options_.member_wait_s) return status;
    {
      MutexLock lock(mu_);
      if (!failure_.ok()) return failure_;
    }
    LOG(WARNING) << what << " begins again: " << status.message();
    std::this_thread::sleep_for(kPause);
  }
}

Status CoordinatorImpl::RestoreServers(const std::string& checkpoint) {
  SetPhase(Phase::kRestoring);
  {
    MutexLock lock(mu_);
    for (Server& server : servers_) server.holds_state = false;
  }
  return OnAllServers([&](std::size_t i, PsAdmin& admin) {
    const auto restore = [&] {
      proto::RestoreReply reply;
      return admin.Restore(checkpoint, job_epoch_, &reply);
    };
    RETURN_IF_ERROR(Persist(StrCat("restoring ps ", i), restore));
    MutexLock lock(mu_);
    servers_[i].holds_state = true;
    return OkStatus();
  });
}

Status CoordinatorImpl::WriteCheckpoint(const std::string& name, bool is_best) {
  proto::TrainState state;
  {
    MutexLock lock(mu_);
    phase_ = Phase::kCheckpoint;
    state = state_;
    Changed();
  }
  const Status status = WriteCheckpointFiles(name, is_best, state);
  if (!status.ok()) {
    const Status removed = RemoveLeftovers(checkpoints_folder_);
    if (!removed.ok()) LOG(WARNING) << removed.message();
    return Annotate(status, StrCat("checkpoint ", name));
  }
  {
    MutexLock lock(mu_);
    latest_checkpoint_ = name;
    checkpoint_at_s_ = Now();
    checkpoint_steps_ = state.steps();
    is_dirty_ = false;
  }
  const Status pruned =
      PruneCheckpoints(checkpoints_folder_, job_.checkpoint().keep(), state.best_checkpoint());
  if (!pruned.ok()) LOG(WARNING) << "old checkpoints stay: " << pruned.message();
  if (options_.observer != nullptr) options_.observer->OnCheckpoint(ShownPath(name));
  return OkStatus();
}

Status CoordinatorImpl::WriteCheckpointFiles(const std::string& name, bool is_best,
                                             const proto::TrainState& state) {
  std::vector<proto::SnapshotReply> shards(options_.ps_count);
  std::optional<CheckpointWriter> begun;
  RETURN_IF_ERROR(Persist(StrCat("checkpoint ", name), [&]() -> Status {
    // A server that went away left half a snapshot: each try has a folder of its own.
    ASSIGN_OR_RETURN(begun, CheckpointWriter::Begin(checkpoints_folder_, name));
    return OnAllServers([&](std::size_t ps, PsAdmin& admin) {
      shards[ps].Clear();
      return admin.Snapshot(begun->ShardFolder(static_cast<std::uint32_t>(ps)), &shards[ps]);
    });
  }));
  CheckpointWriter& writer = *begun;
  if (!options_.vocabulary.empty()) {
    RETURN_IF_ERROR(
        writer.AddFile(kVocabularyFile, JoinPath(run_folder_, kVocabularyFile), vocabulary_xxh3_));
  }
  RETURN_IF_ERROR(
      writer.Seal(job_, state, shards, UnixSeconds(),
                  options_.program.empty() ? "cairn " CAIRN_VERSION : options_.program));
  RETURN_IF_ERROR(writer.Publish());
  RETURN_IF_ERROR(MovePointer(checkpoints_folder_, kLatestFile, name));
  if (is_best) RETURN_IF_ERROR(MovePointer(checkpoints_folder_, kBestFile, name));
  return OkStatus();
}

void CoordinatorImpl::AskServers() {
  std::vector<proto::PsStatsReply> told(options_.ps_count);
  const Status status =
      OnAllServers([&](std::size_t ps, PsAdmin& admin) { return admin.Stats(&told[ps]); });
  Result<ServerReport> report = status.ok() ? AddUp(told) : Result<ServerReport>(status);
  if (!report.ok()) LOG(WARNING) << "nothing to tell of the servers: " << report.status().message();
  MutexLock lock(mu_);
  server_report_.reset();
  if (report.ok()) server_report_ = *std::move(report);
}

Status CoordinatorImpl::WriteMetricsFile() const {
  proto::TrainState state;
  {
    MutexLock lock(mu_);
    state = state_;
  }
  return WriteFileAtomically(JoinPath(run_folder_, "metrics.jsonl"), MetricsJsonl(state));
}

}  // namespace cairn::launch
