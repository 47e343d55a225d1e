# RigL (Evci et al., 2020): as SET, but those come that have the largest
# gradient.
_base_ = './set.py'
_base_.custom_hooks[0].policy.type = 'RigL'
