// The text of benchmarks/serving/plot.py, which the build makes into a string.
#ifndef WEIR_SCHEDULER_PLOT_SCRIPT_H
#define WEIR_SCHEDULER_PLOT_SCRIPT_H

extern const char weir__load_plot_script[];

#endif
