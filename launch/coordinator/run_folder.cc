#include "launch/coordinator/run_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <string_view>

#include "common/io/file.h"
#include "proto/checkpoint.pb.h"
#include "proto/config.pb.h"

namespace cairn::launch {
namespace {

constexpr std::string_view kLockFile = "RUNNING";
constexpr std::string_view kTruthFile = "truth.txt";
constexpr std::string_view kBayesAucLabel = "bayes_auc:";

std::string ThisProcess() {
  std::array<char, 256> host{};
  if (gethostname(host.data(), host.size() - 1) != 0) host[0] = '\0';
  return StrCat("process ", getpid(), " on ", std::string_view(host.data()));
}

// A line of JSON, field by field. Names and texts are ours: nothing needs escaping.
class JsonLine {
 public:
  explicit JsonLine(std::string_view event) : text_(StrCat("{\"event\":\"", event, "\"")) {}
  template <typename T>
  void Add(std::string_view name, const T& value) {
    StrAppend(text_, ",\"", name, "\":", value);
  }
  void AddNumber(std::string_view name, double value) {
    if (std::isfinite(value)) Add(name, value);
  }
  std::string Finish() { return StrCat(text_, "}\n"); }

 private:
  std::string text_;
};

void AddMetrics(const proto::Metrics& metrics, std::string_view rows_name, JsonLine& line) {
  if (metrics.has_auc()) line.AddNumber("auc", metrics.auc());
  line.AddNumber("logloss", metrics.logloss());
  if (metrics.has_gauc()) line.AddNumber("gauc", metrics.gauc());
  if (metrics.has_pairwise()) line.AddNumber("pairwise", metrics.pairwise());
  line.Add(rows_name, metrics.rows());
}

void AddServers(const proto::ServerRecord& servers, JsonLine& line) {
  line.Add("server_rows", servers.rows());
  line.Add("server_rows_in_memory", servers.resident_rows());
  if (servers.has_memory_hits()) line.AddNumber("memory_hits", servers.memory_hits());
  line.Add("evicted_age", servers.evicted_age());
  line.Add("evicted_count", servers.evicted_count());
  line.Add("evicted_norm", servers.evicted_norm());
  if (servers.has_pull_p99_s()) line.AddNumber("pull_p99_s", servers.pull_p99_s());
  if (servers.has_push_p99_s()) line.AddNumber("push_p99_s", servers.push_p99_s());
  if (servers.has_row_staleness_most()) {
    line.Add("row_staleness_most", servers.row_staleness_most());
  }
  if (servers.has_dense_staleness_most()) {
    line.Add("dense_staleness_most", servers.dense_staleness_most());
  }
}

}  // namespace

Result<RunLock> RunLock::Take(const std::string& run_dir) {
  RETURN_IF_ERROR(MakeFolders(run_dir));
  const std::string path = JoinPath(run_dir, kLockFile);
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) return ErrnoStatus("open", path, errno);
  RunLock lock(fd);
  if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    const Result<std::string> holder = ReadFile(path);
    return absl::FailedPreconditionError(StrCat(run_dir, " is in use by ",
                                                holder.ok() && !holder->empty()
                                                    ? holder->substr(0, holder->find('\n'))
                                                    : std::string("another process")));
  }
  const std::string text = StrCat(ThisProcess(), "\n");
  if (ftruncate(fd, 0) != 0 || pwrite(fd, text.data(), text.size(), 0) < 0) {
    return ErrnoStatus("write", path, errno);
  }
  return lock;
}

RunLock::~RunLock() {
  if (fd_ >= 0) close(fd_);
}

std::string MetricsJsonl(const proto::TrainState& state) {
  std::string text;
  double seconds = 0;
  for (const proto::EpochRecord& record : state.history()) {
    JsonLine line("epoch");
    line.Add("epoch", record.epoch());
    line.Add("rows", record.rows());
    line.AddNumber("train_loss", record.train_loss());
    line.AddNumber("rows_per_s", static_cast<double>(record.rows()) / record.seconds());
    line.AddNumber("seconds", record.seconds());
    line.AddNumber("learning_rate_scale", record.learning_rate_scale());
    if (record.has_valid()) AddMetrics(record.valid(), "eval_rows", line);
    line.Add("best", record.epoch() == state.best_epoch());
    if (record.has_servers()) AddServers(record.servers(), line);
    text += line.Finish();
    seconds += record.seconds();
  }
  if (!state.finished()) return text;
  JsonLine line("result");
  line.Add("epochs", state.history_size());
  line.Add("best_epoch", state.best_epoch());
  line.Add("rows", state.rows());
  line.AddNumber("rows_per_s", static_cast<double>(state.rows()) / seconds);
  if (state.has_test()) {
    AddMetrics(state.test(), "test_rows", line);
  } else if (state.best_epoch() < static_cast<std::uint64_t>(state.history_size()) &&
             state.history(static_cast<int>(state.best_epoch())).has_valid()) {
    AddMetrics(state.history(static_cast<int>(state.best_epoch())).valid(), "eval_rows", line);
  }
  return text + line.Finish();
}

double BayesAuc(const proto::JobConfig& job) {
  const proto::DataConfig& data = job.data();
  if (data.bayes_auc() > 0) return data.bayes_auc();
  const auto& files = data.test_size() > 0 ? data.test() : data.valid();
  if (files.empty()) return 0;
  const Result<std::string> text = ReadFile(JoinPath(FolderOf(files.Get(0)), kTruthFile));
  std::string_view rest = text.ok() ? std::string_view(*text) : std::string_view();
  while (!rest.empty()) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    if (!line.starts_with(kBayesAucLabel)) continue;
    const std::string number(line.substr(kBayesAucLabel.size()));
    const double value = std::strtod(number.c_str(), nullptr);
    if (value > 0 && value <= 1) return value;
  }
  return 0;
}

}  // namespace cairn::launch
