// engine/conform/random.c: random numbers that a seed gives again, on every machine.
//
// Source: Steele, Lea, Flood, Fast splittable pseudorandom number generators, 2014 (SplitMix64).
#include "engine/conform/kit.h"

uint64_t weir__kit_random(weir__kit_random_t *random)
{
    uint64_t z = random->state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

uint64_t weir__kit_below(weir__kit_random_t *random, uint64_t end)
{
    return end ? weir__kit_random(random) % end : 0;
}

int64_t weir__kit_between(weir__kit_random_t *random, int64_t low, int64_t high)
{
    return low + (int64_t)weir__kit_below(random, (uint64_t)(high - low) + 1);
}

bool weir__kit_chance(weir__kit_random_t *random, uint32_t percent)
{
    return weir__kit_below(random, 100) < percent;
}

double weir__kit_real(weir__kit_random_t *random, double low, double high)
{
    return low + (high - low) * (double)(weir__kit_random(random) >> 11) * 0x1p-53;
}

uint64_t weir__kit_hash(uint64_t seed, const char *text)
{
    weir__kit_random_t random = {.state = seed};
    for (; *text; text++)
        random.state = weir__kit_random(&random) ^ (uint8_t)*text;
    return weir__kit_random(&random);
}
