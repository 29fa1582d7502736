"""Reference values for the tests of this crate, computed independently of it.

zcdp.csv       rho, delta, epsilon by mpmath, epsilon by PyPI dp-accounting (its own search over orders)
tail.csv       sigma, m, Pr[Z >= m] of the discrete Gaussian by direct summation
threshold.csv  sigma, kappa, delta, the smallest T with kappa * Pr[Z >= T] <= delta

Run with: python3 generate.py   (mpmath 1.3.0, dp-accounting 0.6.0; 60 digits)
"""
import csv
import math
import random

import dp_accounting
from dp_accounting.rdp import rdp_privacy_accountant as rdp
from mpmath import exp, findroot, inf, log, mp, mpf, nsum, sqrt

mp.dps = 60


def epsilon(rho, delta):
    """Canonne, Kamath & Steinke 2020, Proposition 12 / Corollary 13, minimised over the order by golden section."""
    rho, delta = mpf(rho), mpf(delta)

    def at(u):  # u = ln(alpha - 1)
        above = exp(u)
        alpha = above + 1
        return alpha * rho + log(above / alpha) + (-log(delta) - log(alpha)) / above

    low, high, golden = mpf(-20), mpf(30), (sqrt(5) - 1) / 2
    for _ in range(260):
        a, b = high - golden * (high - low), low + golden * (high - low)
        if at(a) < at(b):
            high = b
        else:
            low = a
    return max(mpf(0), at((low + high) / 2))


def epsilon_by_dp_accounting(rho, delta):
    """The Gaussian mechanism with noise multiplier 1/sqrt(2 rho) is rho-zCDP, with exactly alpha * rho at each order."""
    orders = [1 + math.exp(u / 64) for u in range(-14 * 64, 24 * 64)]
    accountant = rdp.RdpAccountant(orders)
    accountant.compose(dp_accounting.GaussianDpEvent(1 / math.sqrt(2 * rho)))
    return accountant.get_epsilon(delta)


def tails(sigma, ms):
    """Pr[Z >= m] for each m, from one summation."""
    sigma = mpf(sigma)
    top = int(60 * sigma) + 40
    weight = lambda k: exp(-mpf(k) ** 2 / (2 * sigma**2))
    suffix, wanted, total = mpf(0), {}, mpf(0)
    targets = set(ms)
    for k in range(top, 0, -1):
        suffix += weight(k)
        if k in targets:
            wanted[k] = suffix
    total = 1 + 2 * suffix
    return {m: wanted.get(m, mpf(0)) / total for m in ms}


def main():
    random.seed(20261122)
    with open("zcdp.csv", "w", newline="") as f:
        out = csv.writer(f, lineterminator="\n")
        out.writerow(["rho_micro", "delta_femto", "epsilon_mpmath", "epsilon_dp_accounting"])
        fixed = [(1, 10**9), (8300, 10**9), (500000, 10**9), (1000, 10**3), (10**6, 10**10), (10**8, 1), (10, 10**14)]
        drawn = [(int(10 ** random.uniform(0, 7.5)), int(10 ** random.uniform(0, 14))) for _ in range(60)]
        for rho, delta in fixed + drawn:
            value = epsilon(mpf(rho) / 10**6, mpf(delta) / 10**15)
            other = epsilon_by_dp_accounting(rho / 1e6, delta / 1e15)
            out.writerow([rho, delta, mp.nstr(value, 18), repr(float(other))])
    sigmas = ["0.25", "0.5", "0.75", "1", "1.5", "2.40625", "5.4375", "17.25", "60.5", "300", "1234.5"]
    with open("tail.csv", "w", newline="") as f:
        out = csv.writer(f, lineterminator="\n")
        out.writerow(["sigma", "m", "tail"])
        for sigma in sigmas:
            ms = sorted({max(1, int(float(sigma) * x)) for x in (0.3, 1.1, 1.9, 2.1, 3, 4.5, 6, 8)})
            for m, tail in tails(sigma, ms).items():
                out.writerow([sigma, m, mp.nstr(tail, 20)])
    with open("threshold.csv", "w", newline="") as f:
        out = csv.writer(f, lineterminator="\n")
        out.writerow(["sigma", "kappa", "delta_femto", "threshold"])
        for sigma in sigmas:
            table = tails(sigma, list(range(1, int(12 * float(sigma)) + 20)))
            for kappa in (1, 5, 20, 1000):
                for delta in (10**3, 10**9, 5 * 10**8, 10**12):
                    smallest = next(m for m in sorted(table) if kappa * table[m] <= mpf(delta) / 10**15)
                    out.writerow([sigma, kappa, delta, smallest])


main()
