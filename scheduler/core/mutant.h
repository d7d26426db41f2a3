// scheduler/core/mutant.h: defects on demand, which the simulator has to find.
//
// The tests build the core a second time with WEIR_MUTANTS: then weir_mutant chooses one defect.
// Any other build has none, and the compiler removes the conditions. docs/scheduler.md lists them.
#ifndef WEIR_SCHEDULER_CORE_MUTANT_H
#define WEIR_SCHEDULER_CORE_MUTANT_H

#ifdef WEIR_MUTANTS
extern int weir_mutant;
#define WEIR__MUTANT(number) (weir_mutant == (number))
#else
#define WEIR__MUTANT(number) 0
#endif

#endif
