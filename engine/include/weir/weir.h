// weir/weir.h: everything an embedder needs: engine -> model -> plan -> session -> run.
#ifndef WEIR_H
#define WEIR_H

#include <weir/engine.h>
#include <weir/limits.h>
#include <weir/log.h>
#include <weir/model.h>
#include <weir/plan.h>
#include <weir/profile.h>
#include <weir/session.h>
#include <weir/status.h>
#include <weir/value.h>

#endif
