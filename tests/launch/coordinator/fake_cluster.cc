#include "tests/launch/coordinator/fake_cluster.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "common/io/checksum.h"
#include "common/io/file.h"
#include "glog/logging.h"
#include "google/protobuf/text_format.h"
#include "launch/coordinator/checkpoints.h"
#include "proto/ps_service.pb.h"

namespace cairn::launch::testing {
namespace {

constexpr std::uint32_t kSlots = 1024;

std::string Join(const std::string& folder, const std::string& name) { return folder + "/" + name; }

}  // namespace

// In memory where possible: a test writes thousands of synced files.
ScratchFolder::ScratchFolder() {
  std::string name = "/dev/shm/cairn-test-XXXXXX";
  if (mkdtemp(name.data()) == nullptr) {
    name = (std::filesystem::temp_directory_path() / "cairn-test-XXXXXX").string();
    CHECK(mkdtemp(name.data()) != nullptr);
  }
  path_ = name;
}

ScratchFolder::~ScratchFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string ReadText(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

void WriteText(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

void FlipByte(const std::string& path, std::size_t at) {
  std::string text = ReadText(path);
  CHECK_LT(at, text.size()) << path;
  text[at] = static_cast<char>(text[at] ^ 1);
  WriteText(path, text);
}

// ----------------------------------------------------------------------------------------- FakePs

FakePs::FakePs(std::uint32_t index, std::uint32_t count)
    : first_slot_(index * kSlots / count),
      last_slot_((index + 1) * kSlots / count - 1),
      address_("fake:" + std::to_string(index)) {}

bool FakePs::Owns(std::uint64_t row) const {
  const std::uint32_t slot = static_cast<std::uint32_t>(row * 97 % kSlots);
  return first_slot_ <= slot && slot <= last_slot_;
}

void FakePs::Apply(std::uint64_t epoch, std::uint64_t row) {
  MutexLock lock(mu_);
  ++applied_[{epoch, row}];
}

Applied FakePs::applied() const {
  MutexLock lock(mu_);
  return applied_;
}

int FakePs::restores() const {
  MutexLock lock(mu_);
  return restores_;
}

void FakePs::FailNextSnapshot(const Status& status) {
  MutexLock lock(mu_);
  snapshot_failure_ = status;
}

Status FakePs::Snapshot(const std::string& folder, proto::SnapshotReply* reply) {
  MutexLock lock(mu_);
  if (!snapshot_failure_.ok()) return std::exchange(snapshot_failure_, OkStatus());
  if (!std::filesystem::create_directory(folder)) {
    return absl::UnavailableError("cannot make " + folder);
  }
  std::string text;
  for (const auto& [key, count] : applied_) {
    StrAppend(text, key.first, " ", key.second, " ", count, "\n");
  }
  WriteText(Join(folder, "rows"), text);
  reply->mutable_shard()->set_first_slot(first_slot_);
  reply->mutable_shard()->set_last_slot(last_slot_);
  reply->mutable_shard()->add_rows(applied_.size());
  proto::FileEntry& file = *reply->add_file();
  file.set_path("rows");
  file.set_bytes(text.size());
  file.set_xxh3(ChecksumOfBytes(text));
  return OkStatus();
}

Status FakePs::Restore(const std::string& checkpoint, std::uint64_t job_epoch,
                       proto::RestoreReply* reply) {
  CHECK_GT(job_epoch, 0u);
  MutexLock lock(mu_);
  ++restores_;
  applied_.clear();
  if (checkpoint.empty()) return OkStatus();
  proto::CheckpointManifest manifest;
  RETURN_IF_ERROR(ReadManifest(checkpoint, &manifest));
  for (const proto::ShardEntry& shard : manifest.shard()) {
    std::istringstream text(ReadText(Join(Join(checkpoint, shard.folder()), "rows")));
    std::uint64_t epoch = 0;
    std::uint64_t row = 0;
    int count = 0;
    while (text >> epoch >> row >> count) {
      if (Owns(row)) applied_[{epoch, row}] = count;
    }
  }
  reply->set_rows(applied_.size());
  return OkStatus();
}

Status FakePs::Stats(proto::PsStatsReply* reply) {
  MutexLock lock(mu_);
  *reply = stats_;
  return stats_status_;
}

void FakePs::SetStats(const proto::PsStatsReply& stats, const Status& status) {
  MutexLock lock(mu_);
  stats_ = stats;
  stats_status_ = status;
}

// ------------------------------------------------------------------------------------- FakeWorker

FakeWorker::FakeWorker(FakeCluster* cluster, CoordinatorCore* core, std::uint32_t index)
    : cluster_(cluster), core_(core), index_(index) {
  proto::JoinWorkerRequest request;
  request.set_worker(index);
  request.set_pid(100 + index);
  proto::JoinWorkerReply reply;
  status_ = core->JoinWorker(request, 10'000, &reply);
  incarnation_ = reply.incarnation();
}

bool FakeWorker::Take(proto::Task* task, std::uint32_t wait_ms) {
  proto::AcquireTaskRequest request;
  request.set_worker(index_);
  request.set_incarnation(incarnation_);
  request.set_wait_ms(wait_ms);
  status_ = core_->AcquireTask(request, task);
  return status_.ok() &&
         (task->kind() == proto::Task::TRAIN_ROWS || task->kind() == proto::Task::SCORE_ROWS);
}

Status FakeWorker::Finish(const proto::Task& task) {
  proto::CompleteTaskRequest request;
  cluster_->Work(task, &request);
  request.set_worker(index_);
  request.set_incarnation(incarnation_);
  status_ = core_->CompleteTask(request);
  return status_;
}

bool FakeWorker::Step() {
  if (!status_.ok()) return false;
  proto::Task task;
  if (Take(&task)) return Finish(task).ok();
  return status_.ok() && task.kind() == proto::Task::WAIT;
}

// ------------------------------------------------------------------------------------ FakeCluster

FakeCluster::FakeCluster(FakeData data, std::uint32_t ps_count) : data_(std::move(data)) {
  for (std::uint32_t i = 0; i < ps_count; ++i) {
    servers_.push_back(std::make_unique<FakePs>(i, ps_count));
  }
}

std::vector<PsAdmin*> FakeCluster::admins() {
  std::vector<PsAdmin*> out;
  for (const auto& server : servers_) out.push_back(server.get());
  return out;
}

CoordinatorOptions FakeCluster::Options(const std::string& run_dir) {
  CoordinatorOptions options;
  options.run_dir = run_dir;
  options.ps = admins();
  options.clock_s = [this] { return clock_.load(); };
  return options;
}

Applied FakeCluster::applied() const {
  Applied all;
  for (const auto& server : servers_) all.merge(server->applied());
  return all;
}

std::vector<std::string> FakeCluster::TrainedTasks() const {
  MutexLock lock(mu_);
  return trained_;
}

bool FakeCluster::IsBad(std::uint64_t row) const {
  return data_.bad_row_every > 0 && row % data_.bad_row_every == 0;
}

std::uint64_t FakeCluster::CompleteEpochs() const {
  std::uint64_t good = 0;
  for (std::uint64_t row = 0; row < data_.train_rows; ++row) good += !IsBad(row);
  std::map<std::uint64_t, std::uint64_t> rows_of_epoch;
  for (const auto& [key, count] : applied()) ++rows_of_epoch[key.first];
  std::uint64_t complete = 0;
  while (rows_of_epoch[complete] == good) ++complete;
  return complete;
}

void FakeCluster::Work(const proto::Task& task, proto::CompleteTaskRequest* request) {
  const bool is_training = task.kind() == proto::Task::TRAIN_ROWS;
  const std::uint64_t rows = is_training ? data_.train_rows : data_.eval_rows;
  const std::uint64_t first = std::min(rows, task.window() * window_rows_);
  const std::uint64_t in_window = std::min(window_rows_, rows - first);
  request->set_task(task.id());
  if (in_window < window_rows_ || (data_.sees_end_of_full_window && first + in_window == rows)) {
    request->set_last_window(true);
    request->set_window_rows_found(in_window);
  }
  const std::uint64_t end = std::min(task.end(), in_window);
  is_training ? Train(task, end, request) : Score(task, end, request);
}

void FakeCluster::Train(const proto::Task& task, std::uint64_t end,
                        proto::CompleteTaskRequest* request) {
  std::uint64_t good = 0;
  std::uint64_t bad = 0;
  for (std::uint64_t r = task.begin(); r < end; ++r) {
    const std::uint64_t row = task.window() * window_rows_ + r;
    if (IsBad(row)) {
      ++bad;
      continue;
    }
    ++good;
    for (const auto& server : servers_) {
      if (server->Owns(row)) server->Apply(task.epoch(), row);
    }
  }
  request->set_rows(good);
  request->set_bad_rows(bad);
  request->set_steps(good > 0 ? 2 : 0);
  request->set_loss_sum(0.5 * static_cast<double>(good));
  if (good + bad == 0) return;
  MutexLock lock(mu_);
  trained_.push_back(StrCat(task.epoch(), "/", task.window(), ":", task.begin(), "-", end, "@",
                            task.learning_rate_scale()));
}

// Half of the rows are positive. A positive and b negative rows are tied at the top and the others
// at the bottom, so that the AUC is what the table says.
void FakeCluster::Score(const proto::Task& task, std::uint64_t end,
                        proto::CompleteTaskRequest* request) {
  const std::uint64_t epochs = std::max<std::uint64_t>(1, CompleteEpochs());
  const int auc =
      data_.auc_after_epochs[std::min<std::size_t>(epochs, data_.auc_after_epochs.size()) - 1];
  const std::uint64_t half = data_.eval_rows / 2;
  // AUC = 1/2 + (share of positives at the top) / 2, all negatives being at the bottom.
  const std::uint64_t top = half * static_cast<std::uint64_t>(2 * auc - 100) / 100;
  for (std::uint64_t r = task.begin(); r < end; ++r) {
    const std::uint64_t row = task.window() * window_rows_ + r;
    const float logit = row < top ? 1.0f : -1.0f;
    request->mutable_logits()->append(reinterpret_cast<const char*>(&logit), sizeof logit);
    request->mutable_labels()->push_back(row < half ? 1 : 0);
    const std::uint64_t group = row % half;
    if (data_.has_groups) {
      request->mutable_groups()->append(reinterpret_cast<const char*>(&group), sizeof group);
    }
  }
  request->set_rows(end > task.begin() ? end - task.begin() : 0);
}

proto::JobConfig FakeJob() {
  proto::JobConfig job;
  CHECK(google::protobuf::TextFormat::ParseFromString(
      R"pb(
        name: "fake"
        data { train: "train.csv" valid: "valid.csv" test: "test.csv" window_rows: 32 }
        table { name: "C1" dim: 2 }
        feature { name: "C1" table: "C1" }
        model { lr {} }
        train { epochs: 3 batch_size: 4 lease_batches: 2 early_stop_patience: 0 }
        checkpoint { every_s: 0 keep: 2 }
      )pb",
      &job));
  return job;
}

// ------------------------------------------------------------------------------------- RunningJob

RunningJob::RunningJob(FakeCluster* cluster, const proto::JobConfig& job,
                       const CoordinatorOptions& options)
    : cluster_(cluster) {
  cluster->set_window_rows(job.data().window_rows());
  Result<std::unique_ptr<CoordinatorCore>> core = CoordinatorCore::Make(job, options);
  status_ = core.status();
  if (!core.ok()) return;
  core_ = *std::move(core);
  thread_ = std::thread([this] {
    const Status status = core_->Run(&result_);
    status_ = status;
  });
}

RunningJob::~RunningJob() {
  if (!thread_.joinable()) return;
  core_->ReportFailure("test", 0, absl::CancelledError("the test ends"));
  thread_.join();
}

const Status& RunningJob::Wait() {
  if (thread_.joinable()) thread_.join();
  return status_;
}

const Status& RunningJob::WorkToEnd(std::uint32_t workers) {
  if (core_ == nullptr) return status_;
  std::vector<std::thread> threads;
  for (std::uint32_t w = 0; w < workers; ++w) {
    threads.emplace_back([this, w] { FakeWorker(cluster_, core_.get(), w).RunToEnd(); });
  }
  for (std::thread& thread : threads) thread.join();
  return Wait();
}

}  // namespace cairn::launch::testing
