// The coordinator's core with real parameter servers in this process: a small logistic regression
// whose weights tell which rows were trained.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"
#include "launch/coordinator/checkpoints.h"
#include "launch/coordinator/coordinator_core.h"
#include "launch/local/local_control.h"
#include "launch/local/local_ps_client.h"
#include "proto/config.pb.h"
#include "proto/control.pb.h"
#include "ps/server/ps_core.h"
#include "tests/launch/coordinator/fake_cluster.h"

namespace cairn::launch {
namespace {

using testing::FlipByte;
using ::testing::HasSubstr;
using testing::ScratchFolder;
using ::testing::SizeIs;

constexpr std::uint64_t kTrainRows = 100;
constexpr std::uint64_t kEvalRows = 40;
constexpr std::uint64_t kKeys = 20;

proto::JobConfig Job() {
  proto::JobConfig job;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(
      R"pb(
        data { train: "a" valid: "b" test: "c" window_rows: 32 }
        table {
          name: "key"
          dim: 1
          optimizer { adagrad {} }
          initializer { zero {} }
        }
        feature { name: "key" table: "key" }
        model { lr {} }
        dense { optimizer { sgd {} } }
        train { epochs: 3 batch_size: 4 lease_batches: 2 }
        checkpoint { every_s: 0 }
      )pb",
      &job));
  return job;
}

// Row r has the one key r % kKeys and the label (r % kKeys < kKeys / 2).
std::uint64_t KeyOfRow(std::uint64_t row) { return row % kKeys * 0x9e3779b97f4a7c15ull; }
bool LabelOfRow(std::uint64_t row) { return row % kKeys < kKeys / 2; }

class LrWorker {
 public:
  LrWorker(worker::PsClient* servers, worker::JobControl* control, std::uint64_t incarnation)
      : servers_(servers), control_(control), incarnation_(incarnation) {}

  // Works on at most `tasks` tasks, or until told to leave.
  Status Run(int tasks) {
    worker::DenseLayout layout(1);
    layout[0].name = "bias";
    layout[0].dims = {1};
    RETURN_IF_ERROR(servers_->RegisterDense(layout, std::vector<float>{0.0f}));
    while (tasks > 0) {
      proto::AcquireTaskRequest request;
      request.set_incarnation(incarnation_);
      proto::Task task;
      RETURN_IF_ERROR(control_->AcquireTask(request, &task));
      if (task.kind() == proto::Task::LEAVE) return OkStatus();
      if (task.kind() == proto::Task::WAIT) continue;
      --tasks;
      RETURN_IF_ERROR(Work(task));
    }
    return OkStatus();
  }

 private:
  Status Work(const proto::Task& task) {
    const bool is_training = task.kind() == proto::Task::TRAIN_ROWS;
    const std::uint64_t rows = is_training ? kTrainRows : kEvalRows;
    const std::uint64_t first = std::min<std::uint64_t>(rows, task.window() * 32);
    const std::uint64_t in_window = std::min<std::uint64_t>(32, rows - first);
    proto::CompleteTaskRequest done;
    done.set_incarnation(incarnation_);
    done.set_task(task.id());
    if (in_window < 32) {
      done.set_last_window(true);
      done.set_window_rows_found(in_window);
    }
    for (std::uint64_t r = task.begin(); r < std::min(task.end(), in_window); ++r) {
      RETURN_IF_ERROR(WorkOnRow(first + r, task, &done));
    }
    return control_->CompleteTask(done);
  }

  Status WorkOnRow(std::uint64_t row, const proto::Task& task, proto::CompleteTaskRequest* done) {
    const bool is_training = task.kind() == proto::Task::TRAIN_ROWS;
    const std::vector<std::uint64_t> keys = {KeyOfRow(row)};
    float weight = 0;
    float bias = 0;
    const worker::TablePull pull[] = {{0, keys, &weight}};
    worker::PullRequest request;
    request.mode = is_training ? worker::PullMode::kTrain : worker::PullMode::kScore;
    request.tables = pull;
    request.dense = {&bias, 1};
    RETURN_IF_ERROR(servers_->Pull(request));
    const float logit = weight + bias;
    done->set_rows(done->rows() + 1);
    if (!is_training) {
      done->mutable_logits()->append(reinterpret_cast<const char*>(&logit), sizeof logit);
      done->mutable_labels()->push_back(LabelOfRow(row) ? 1 : 0);
      return OkStatus();
    }
    const float gradient = 1 / (1 + std::exp(-logit)) - (LabelOfRow(row) ? 1.0f : 0.0f);
    const worker::TablePush push[] = {{0, keys, &gradient}};
    worker::PushRequest step;
    step.tables = push;
    step.dense = {&gradient, 1};
    step.learning_rate_scale = task.learning_rate_scale();
    done->set_steps(done->steps() + 1);
    return servers_->Push(step);
  }

  worker::PsClient* const servers_;
  worker::JobControl* const control_;
  const std::uint64_t incarnation_;
};

struct Outcome {
  Status status;
  JobResult result;
  std::vector<float> weights;  // of the keys, and the bias, as scored at the end
};

// A whole job in this process; stopped after `tasks` tasks.
Outcome RunLocal(const std::string& run_dir, std::uint32_t servers, int tasks) {
  Outcome outcome;
  std::vector<std::unique_ptr<ps::PsCore>> cores;
  std::vector<ps::PsCore*> pointers;
  std::vector<std::unique_ptr<PsAdmin>> admins;
  CoordinatorOptions options;
  options.run_dir = run_dir;
  for (std::uint32_t i = 0; i < servers; ++i) {
    ps::PsOptions ps_options;
    ps_options.ps = i;
    ps_options.ps_count = servers;
    ps_options.folder = StrCat(run_dir, "/ps-", i);
    auto core = ps::PsCore::Make(Job(), ps_options);
    if (!core.ok()) return {core.status(), {}, {}};
    cores.push_back(*std::move(core));
    pointers.push_back(cores.back().get());
    admins.push_back(MakeLocalPsAdmin(pointers.back()));
    options.ps.push_back(admins.back().get());
  }
  auto coordinator = CoordinatorCore::Make(Job(), options);
  if (!coordinator.ok()) return {coordinator.status(), {}, {}};
  std::thread script([&] { outcome.status = (*coordinator)->Run(&outcome.result); });
  const auto client = MakeLocalPsClient(Job(), pointers, 10);
  if (!(*coordinator)->was_finished()) {
    proto::JoinWorkerReply joined;
    EXPECT_TRUE((*coordinator)->JoinWorker({}, 10'000, &joined).ok());
    const auto control = MakeLocalJobControl(coordinator->get());
    LrWorker worker(client.get(), control.get(), joined.incarnation());
    EXPECT_TRUE(worker.Run(tasks).ok());
    (*coordinator)->RequestStop();
    EXPECT_TRUE(worker.Run(1000).ok());
  }
  script.join();
  for (std::uint64_t k = 0; k <= kKeys; ++k) {
    const std::vector<std::uint64_t> keys = {KeyOfRow(k)};
    float value = 0;
    const worker::TablePull pull[] = {{0, keys, &value}};
    worker::PullRequest request;
    request.mode = worker::PullMode::kScore;
    if (k < kKeys) request.tables = pull;
    if (k == kKeys) request.dense = {&value, 1};
    if (!(*coordinator)->was_finished()) {
      EXPECT_TRUE(client->Pull(request).ok());
    }
    outcome.weights.push_back(value);
  }
  return outcome;
}

TEST(LocalJob, LearnsAndLeavesASoundCheckpoint) {
  ScratchFolder folder;
  const Outcome outcome = RunLocal(folder.path(), 1, 1000);
  ASSERT_TRUE(outcome.status.ok()) << outcome.status;
  ASSERT_TRUE(outcome.result.test.has_value());
  EXPECT_EQ(outcome.result.test->auc, 1.0);
  EXPECT_EQ(outcome.result.epochs, 3u);
  EXPECT_GT(outcome.weights[0], 0);
  EXPECT_LT(outcome.weights[kKeys - 1], 0);
  EXPECT_THAT(*VerifyCheckpoint(folder.path()), SizeIs(0));
}

TEST(LocalJob, StoppedAndResumedWithAnyNumberOfServersGivesTheSameBits) {
  ScratchFolder whole;
  const Outcome expected = RunLocal(whole.path(), 1, 1000);
  for (int tasks = 1; tasks < 60; tasks += 4) {
    SCOPED_TRACE(tasks);
    ScratchFolder folder;
    const Outcome first = RunLocal(folder.path(), 1, tasks);
    ASSERT_TRUE(first.status.ok()) << first.status;
    if (!first.result.stopped) break;
    const Outcome second = RunLocal(folder.path(), 2, 7);
    ASSERT_TRUE(second.status.ok()) << second.status;
    if (!second.result.stopped) break;
    const Outcome third = RunLocal(folder.path(), 3, 1000);
    ASSERT_TRUE(third.status.ok()) << third.status;
    EXPECT_EQ(third.weights, expected.weights);
    EXPECT_EQ(third.result.test->logloss, expected.result.test->logloss);
  }
}

TEST(LocalJob, EveryFileOfARealCheckpointIsGuarded) {
  ScratchFolder folder;
  const Outcome outcome = RunLocal(folder.path(), 2, 10);
  ASSERT_TRUE(outcome.result.stopped);
  const std::string checkpoint = outcome.result.checkpoint;
  int files = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(checkpoint)) {
    if (!entry.is_regular_file()) continue;
    const std::string path = entry.path().string();
    SCOPED_TRACE(path);
    if (std::filesystem::file_size(path) == 0) continue;
    ++files;
    FlipByte(path, std::filesystem::file_size(path) / 2);
    const auto problems = VerifyCheckpoint(checkpoint);
    ASSERT_TRUE(problems.ok());
    ASSERT_THAT(*problems, SizeIs(1));
    EXPECT_THAT(path, HasSubstr((*problems)[0].file));
    const Status status = RunLocal(folder.path(), 1, 1000).status;
    EXPECT_TRUE(absl::IsDataLoss(status)) << status;
    FlipByte(path, std::filesystem::file_size(path) / 2);
  }
  EXPECT_GT(files, 5);
  EXPECT_TRUE(RunLocal(folder.path(), 1, 1000).status.ok());
}

}  // namespace
}  // namespace cairn::launch
