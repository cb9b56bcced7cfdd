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

Status CoordinatorImpl::RestoreServers(const std::string& checkpoint) {
  SetPhase(Phase::kRestoring);
  return OnAllServers([&](std::size_t, PsAdmin& admin) {
    proto::RestoreReply reply;
    return admin.Restore(checkpoint, job_epoch_, &reply);
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
  ASSIGN_OR_RETURN(CheckpointWriter writer, CheckpointWriter::Begin(checkpoints_folder_, name));
  std::vector<proto::SnapshotReply> shards(options_.ps_count);
  RETURN_IF_ERROR(OnAllServers([&](std::size_t ps, PsAdmin& admin) {
    return admin.Snapshot(writer.ShardFolder(static_cast<std::uint32_t>(ps)), &shards[ps]);
  }));
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
