// A reader-writer lock with thread-safety annotations that lets waiting writers in first: a stream
// of overlapping pulls never starves a push.
#pragma once

#include <pthread.h>

#include "common/base/mutex.h"

#define CAIRN_ACQUIRE_SHARED(...) CAIRN_TSA(acquire_shared_capability(__VA_ARGS__))
#define CAIRN_RELEASE_GENERIC(...) CAIRN_TSA(release_generic_capability(__VA_ARGS__))
#define REQUIRES_SHARED(...) CAIRN_TSA(requires_shared_capability(__VA_ARGS__))

namespace cairn::ps {

class CAPABILITY("mutex") StripeLock {
 public:
  StripeLock() {
    pthread_rwlockattr_t attributes;
    pthread_rwlockattr_init(&attributes);
    pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&lock_, &attributes);
    pthread_rwlockattr_destroy(&attributes);
  }
  ~StripeLock() { pthread_rwlock_destroy(&lock_); }
  StripeLock(const StripeLock&) = delete;
  StripeLock& operator=(const StripeLock&) = delete;

  void Lock() ACQUIRE() { pthread_rwlock_wrlock(&lock_); }
  void LockShared() CAIRN_ACQUIRE_SHARED() { pthread_rwlock_rdlock(&lock_); }
  void Unlock() CAIRN_RELEASE_GENERIC() { pthread_rwlock_unlock(&lock_); }

 private:
  pthread_rwlock_t lock_;
};

// A thread never holds the same lock twice.
class SCOPED_CAPABILITY ReadLock {
 public:
  explicit ReadLock(StripeLock& lock) CAIRN_ACQUIRE_SHARED(lock) : lock_(lock) {
    lock_.LockShared();
  }
  ~ReadLock() CAIRN_RELEASE_GENERIC() { lock_.Unlock(); }
  ReadLock(const ReadLock&) = delete;
  ReadLock& operator=(const ReadLock&) = delete;

 private:
  StripeLock& lock_;
};

class SCOPED_CAPABILITY WriteLock {
 public:
  explicit WriteLock(StripeLock& lock) ACQUIRE(lock) : lock_(lock) { lock_.Lock(); }
  ~WriteLock() CAIRN_RELEASE_GENERIC() { lock_.Unlock(); }
  WriteLock(const WriteLock&) = delete;
  WriteLock& operator=(const WriteLock&) = delete;

 private:
  StripeLock& lock_;
};

}  // namespace cairn::ps
