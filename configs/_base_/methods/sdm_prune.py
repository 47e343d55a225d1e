# SDMPrune (Zhu and Shen, 2025): neurons of MLPs go by what a trained network
# says, and the task's loss alone fine-tunes what is left, by a recipe of ours.
# Its weights come by load_from, by an init_cfg of type Pretrained or by the
# --checkpoint of tools/prune.py: one that was not trained is warned of.
# Stands among the bases of a vision transformer in the place of its recipe;
# its loader needs no batch_sampler. The authors give settings for 0.2, 0.3
# and 0.4.
_base_ = './fine_tuning.py'
default_hooks = dict(
    epsd=dict(
        sparsity=0.3,
        criterion=dict(_delete_=True, type='SDMPrune'),
        draws=None,
        batches_per_step=32,
        sd_loss=None,
    )
)
